"""Describes Chroma."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from shared.figures import FigureKind
from shared.services.base import DATA_FOLDER, PORT, ClientSettings, Phase, ServiceSettings, one_phase
from shared.services.vectors import FIGURES, MOST_VECTORS, VectorClient, phases_of


class ChromaSettings(ServiceSettings):
    host: Literal["127.0.0.1", "0.0.0.0"] = Field(  # noqa: S104 - recipes of other frameworks have it
        default="127.0.0.1", description="the address that the server listens on; `0.0.0.0` opens it to everybody in the network"
    )
    port: int | None = PORT
    data_dir: str = DATA_FOLDER


class ChromaClient(VectorClient):
    num_vectors: int = Field(default=1_000, ge=1, le=MOST_VECTORS, description="how many vectors are inserted before the queries")
    tenant: str = Field(default="default_tenant", pattern=r"^[\w-]{1,100}$", description="the tenant of the collection")
    database: str = Field(default="default_database", pattern=r"^[\w-]{1,100}$", description="the database of the collection")
    check_only: bool = Field(
        default=False, description="whether the clients only ask if the server lives, `num_queries` times; then no collection is made"
    )


class Chroma:
    """Describes the type `chroma`; see `shared.services.base.ServiceKind`."""

    name = "chroma"
    settings = ChromaSettings
    client = ChromaClient
    client_types: Mapping[str, Mapping[str, Any]] = {
        "chroma": {},
        "chroma_stress": {},
        "chroma_smoke": {"num_vectors": 100, "num_queries": 20, "dim": 16},
        "chroma_healthcheck": {"check_only": True, "num_queries": 20},
    }
    startable = True
    schemes = ("http", "https")
    figures: Mapping[str, FigureKind] = FIGURES

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, ChromaClient)
        if client.check_only:
            return one_phase("heartbeat", {"heartbeat": 1.0}, count or max(1, client.num_queries), duration_s)
        return phases_of(client, client.num_vectors, "num_vectors", count, duration_s)
