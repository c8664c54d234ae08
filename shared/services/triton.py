"""Describes Triton Inference Server, which speaks the protocol KServe v2 over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from shared.figures import FigureKind
from shared.services.base import MAX_REQUESTS, PORT, ClientSettings, Phase, ServiceSettings, left_alone, one_phase

MODEL = r"^[A-Za-z0-9_.-]*$"


def _only_http(scenario: str) -> str:
    if scenario == "grpc":
        raise ValueError("this version speaks HTTP to Triton, and no gRPC; write `scenario: http`")
    return scenario


class TritonSettings(ServiceSettings):
    http_port: int | None = PORT
    grpc_port: int = Field(default=0, ge=0, le=65_535, description="the port for gRPC, which these clients do not use; 0 turns it off")
    metrics_port: int = Field(default=8002, ge=0, le=65_535, description="the port of the page with its metrics; 0 turns it off")
    model_repo: str = Field(default="/models", min_length=1, max_length=4_096, description="the folder with the models, on the device")
    log_verbose: int = Field(default=0, ge=0, le=4, description="how much the server writes of each request")


class TritonClient(ClientSettings):
    scenario: Annotated[Literal["http", "grpc"], AfterValidator(_only_http)] = Field(
        default="http", description="the protocol; this version has `http`"
    )
    model: str = Field(
        default="", pattern=MODEL, max_length=500, description="the model; if it is left out, the only one that the server has ready"
    )
    model_version: str = Field(default="", pattern=r"^\d*$", max_length=20, description="its version; the server chooses if it is left out")
    num_requests: int = Field(
        default=1_000, ge=1, le=MAX_REQUESTS, description="how many requests each repeat sends, of all clients together"
    )
    batch_size: int = Field(default=1, ge=1, le=65_536, description="how many inputs one request has, for a model that takes several")
    payload_size_bytes: int = Field(
        default=0,
        ge=0,
        le=64 * 2**20,
        description="how many bytes of tensors each request has at least: a free dimension of an input, or its texts, are made so long; 0 "
        "makes free dimensions 1",
    )
    encoding: Literal["binary", "json"] = Field(default="binary", description="how tensors are written in a request and in its answer")
    server_metrics_url: str = Field(
        default="",
        pattern=r"^(https?://[!-~]+)?$",
        max_length=4_096,
        description="the page with the server's own metrics, which telemetry samples; known for a server that the worker starts",
    )
    warmup_delay: float = left_alone(10.0)


class Triton:
    """Describes the type `triton`; see `shared.services.base.ServiceKind`."""

    name = "triton"
    settings = TritonSettings
    client = TritonClient
    client_types: Mapping[str, Mapping[str, Any]] = {"triton": {}, "triton_stress": {}, "triton_smoke": {"num_requests": 20}}
    startable = True
    schemes = ("http", "https")
    figures: Mapping[str, FigureKind] = {
        "server_queue_ms": FigureKind(
            "ms", "lower", "how long a request waited in the server's queue, on average, as the server counts it"
        ),
        "server_compute_ms": FigureKind(
            "ms", "lower", "how long the server computed for a request, input and output included, on average, as the server counts it"
        ),
        "server_requests_per_execution": FigureKind(
            "", "neither", "how many inputs the server computed together, on average, as the server counts it"
        ),
    }

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, TritonClient)
        return one_phase("requests", {"infer": 1.0}, count or client.num_requests, duration_s)
