"""Describes Qdrant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from shared.figures import FigureKind
from shared.services.base import DATA_FOLDER, ClientSettings, Phase, ServiceSettings, left_alone
from shared.services.vectors import FIGURES, MOST_VECTORS, VectorClient, phases_of


class QdrantSettings(ServiceSettings):
    port: int | None = Field(
        default=None, ge=1, le=65_535, description="the port of the server's REST API; if it is left out, a free one is taken"
    )
    grpc_port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="the port of the server's gRPC, which our clients do not use; by default a free one",
    )
    storage_path: str = DATA_FOLDER


class QdrantClient(VectorClient):
    num_points: int = Field(default=10_000, ge=1, le=MOST_VECTORS, description="how many vectors are inserted before the queries")
    num_queries: int = Field(
        default=1_000,
        ge=0,
        le=10_000_000,
        description="how many queries each repeat sends, of all clients together; with 0 it only inserts",
    )
    batch_size: int = Field(default=256, ge=1, le=100_000, description="how many vectors one insert has at most")
    warmup_delay: float = left_alone(10.0)


class Qdrant:
    """Describes the type `qdrant`; see `shared.services.base.ServiceKind`."""

    name = "qdrant"
    settings = QdrantSettings
    client = QdrantClient
    client_types: Mapping[str, Mapping[str, Any]] = {
        "qdrant": {},
        "qdrant_stress": {},
        "qdrant_smoke": {"num_points": 100, "num_queries": 20, "dim": 16},
    }
    startable = True
    schemes = ("http", "https")
    figures: Mapping[str, FigureKind] = FIGURES

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, QdrantClient)
        return phases_of(client, client.num_points, "num_points", count, duration_s)
