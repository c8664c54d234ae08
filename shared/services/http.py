"""Describes any address that answers HTTP. A worker does not start such a service; a recipe gives its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from shared.figures import FigureKind
from shared.services.base import MAX_REQUESTS, ClientSettings, Phase, ServiceSettings, one_phase


class HttpSettings(ServiceSettings):
    """Is empty: the service runs already."""


class HttpClient(ClientSettings):
    num_requests: int = Field(
        default=1_000, ge=1, le=MAX_REQUESTS, description="how many requests each repeat sends, of all clients together"
    )
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(default="GET", description="the method of each request")
    path: str = Field(
        default="", max_length=4_096, pattern=r"^(/[!-~]*)?$", description="the path and query; it replaces those of the address"
    )
    headers: dict[str, str] = Field(
        default_factory=dict, max_length=100, description="further headers of each request; no keys or passwords"
    )
    body: str = Field(default="", max_length=1_000_000, description="the body of each request")
    expect_status: int = Field(default=200, ge=100, le=599, description="the status of a request that succeeded; any other is a failure")
    expect_body: str = Field(
        default="",
        max_length=10_000,
        description="a text that the body of each answer must hold; an answer without it is a failure. If it is left out, only the status "
        "is looked at",
    )
    warmup_delay: float = Field(default=0.0, ge=0, le=3_600, description="how long to wait before the first request, in seconds")


class Http:
    """Describes the type `http`; see `shared.services.base.ServiceKind`."""

    name = "http"
    settings = HttpSettings
    client = HttpClient
    client_types: Mapping[str, Mapping[str, Any]] = {"http": {}, "http_stress": {}, "http_smoke": {"num_requests": 20}}
    startable = False
    schemes = ("http", "https")
    figures: Mapping[str, FigureKind] = {}

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, HttpClient)
        return one_phase("requests", {client.method.lower(): 1.0}, count or client.num_requests, duration_s)
