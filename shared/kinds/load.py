"""Defines the kind `load`: one job drives a service. Its unit of work is one request, and making it ready is starting the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.kinds.base import Spec
from shared.kinds.load_figures import FIGURES
from shared.services.base import MAX_DURATION_S, MAX_IN_FLIGHT, MAX_RATE, MAX_REQUESTS, Phase
from shared.services.registry import SERVICES
from shared.strict import Strict

Pattern = Literal["closed", "constant", "poisson", "gamma", "ramp", "trace", "single_stream", "multi_stream", "server", "offline"]
DEFAULT_LOAD_REPEATS = 3
MAX_CLIENTS = 256


class ServiceOfJob(Strict):
    """Says which service is driven, and with which settings it is started."""

    type: str = Field(max_length=64)
    name: str = Field(default="", max_length=200)
    settings: dict[str, Any] = Field(default_factory=dict, description="every setting of the type, with its defaults")


class ClientOfJob(Strict):
    """Says what the clients send. `settings` holds every setting of the type of service, with its defaults."""

    type: str = Field(max_length=64)
    settings: dict[str, Any] = Field(default_factory=dict)


class Arrivals(Strict):
    """Says when requests are sent.

    The presets `single_stream`, `multi_stream`, `server` and `offline` are those of MLPerf.
    """

    pattern: Pattern = "closed"
    rate: float | None = Field(default=None, gt=0, le=MAX_RATE, description="requests per second of all clients together")
    rate_from: float | None = Field(default=None, ge=0, le=MAX_RATE, description="the rate at which a ramp begins; it ends at `rate`")
    burstiness: float = Field(
        default=1.0, gt=0, le=1_000, description="the shape of the gaps of `gamma`: 1 is Poisson, less comes in bursts, more is more even"
    )
    trace_s: tuple[float, ...] | None = Field(
        default=None, min_length=1, max_length=65_536, description="the times at which `trace` sends, in seconds after the begin"
    )
    per_query: int = Field(default=8, ge=1, le=MAX_IN_FLIGHT, description="how many requests `multi_stream` sends at once")
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    ramp_up_s: float = Field(
        default=0.0, ge=0, le=MAX_DURATION_S, description="how long requests at the begin are listed apart and enter no figure, in seconds"
    )


class Slo(Strict):
    """Says what the service must keep. Reports look for the highest load at which it does."""

    p50_latency_ms: float | None = Field(default=None, gt=0, description="the largest median latency, in milliseconds")
    p95_latency_ms: float | None = Field(default=None, gt=0, description="the largest 95th percentile of the latency, in milliseconds")
    p99_latency_ms: float | None = Field(default=None, gt=0, description="the largest 99th percentile of the latency, in milliseconds")
    max_error_rate: float = Field(default=0.01, ge=0, le=1, description="the largest share of requests that may fail; 0.01 is 1 %")


class LoadSpec(Spec):
    """Says how one service is put under load.

    `service`, `client`, `load` and `slo` have the structure of the recipe's sections, so that swept paths name the same value in both.
    What follows from several of them is resolved here: `phases` and the numbers below.
    """

    kind: Literal["load"] = "load"
    service: ServiceOfJob
    client: ClientOfJob
    load: Arrivals = Arrivals()
    slo: Slo | None = None
    phases: tuple[Phase, ...] = Field(min_length=1, max_length=20)
    concurrent_clients: int = Field(default=1, ge=1, le=MAX_IN_FLIGHT, description="requests in flight of each client process")
    num_clients: int = Field(default=1, ge=1, le=MAX_CLIENTS, description="client processes, which start together")
    client_delay_s: float = Field(default=0.0, ge=0, le=3_600, description="how long the clients wait after they are ready, in seconds")
    warmup_delay_s: float = Field(default=0.0, ge=0, le=3_600, description="how long a started service is left alone, in seconds")
    request_timeout_s: float = Field(default=30.0, gt=0, le=3_600)

    def said(self, repeats: int) -> str:
        counts = [phase.count for phase in self.phases if phase.count is not None]
        much = str(sum(counts)) if counts else f"{sum(phase.duration_s or 0 for phase in self.phases):g} s"
        return f"{repeats} x {much}"

    def check(self, repeats: int) -> None:
        requests = repeats * sum(phase.count or 0 for phase in self.phases)
        if requests > MAX_REQUESTS:
            raise ValueError(f"{requests} requests in {repeats} repeats are more than {MAX_REQUESTS}; send fewer, or split the job")


class Load:
    """Describes the kind `load`; see `shared.kinds.base.Kind`."""

    name = "load"
    spec = LoadSpec
    roles: tuple[str, ...] = ()
    marks = ("service",)
    keys: frozenset[str] = frozenset({"configuration", "service", "client", "benchmarks", "load", "slo", "monitoring", "stop"})
    section = ""
    default_on: tuple[str, ...] = ()
    headline = "requests_per_s"
    figures: Mapping[str, FigureKind] = {**FIGURES, **{name: one for kind in SERVICES.values() for name, one in kind.figures.items()}}

    def spec_of(self, settings: Any) -> LoadSpec:
        raise NotImplementedError

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        del inputs
        return (spec.service.name or spec.service.type)[:255] if isinstance(spec, LoadSpec) else spec.kind

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        del written_in
        return stored
