"""Defines the kind `load`: one job drives a service. Its unit of work is one request, and making it ready is starting the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.kinds.base import Spec
from shared.kinds.load_arrivals import Arrivals, amount_of, arrivals_of, whole_trace
from shared.kinds.load_figures import FIGURES
from shared.services.base import MAX_IN_FLIGHT, MAX_REQUESTS, Phase, whole_address
from shared.services.native_tools import OURS, refuse_what_it_cannot
from shared.services.registry import CAPABILITIES, CLIENT_TYPES, SERVICES
from shared.strict import Strict
from shared.targets import Existing, Launched, Target

MAX_CLIENTS = 256


class ServiceOfJob(Strict):
    """Says which service is driven, and with which settings it is started."""

    type: str = Field(max_length=64)
    name: str = Field(default="", max_length=200)
    settings: dict[str, Any] = Field(default_factory=dict, description="every setting of the type, with its defaults")


class ClientOfJob(Strict):
    """Says what the clients send. `settings` holds every setting of the type of service, with its defaults."""

    type: str = Field(max_length=64)
    driver: str = Field(default=OURS, max_length=64, description="our own clients, or the tool that sends the requests in their place")
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the default driver, so that workers of the version before can read the jobs that they can run."""
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if (key, value) != ("driver", OURS)}


class Slo(Strict):
    """Says what the service must keep. Reports look for the highest load at which it does."""

    p50_latency_ms: float | None = Field(default=None, gt=0, description="the largest median latency, in milliseconds")
    p95_latency_ms: float | None = Field(default=None, gt=0, description="the largest 95th percentile of the latency, in milliseconds")
    p99_latency_ms: float | None = Field(default=None, gt=0, description="the largest 99th percentile of the latency, in milliseconds")
    p50_ttft_ms: float | None = Field(default=None, gt=0, description="of language models: the largest median time to the first token")
    p95_ttft_ms: float | None = Field(default=None, gt=0, description="the largest 95th percentile of it")
    p99_ttft_ms: float | None = Field(default=None, gt=0, description="the largest 99th percentile of it")
    p50_tpot_ms: float | None = Field(default=None, gt=0, description="of language models: the largest median time per output token")
    p95_tpot_ms: float | None = Field(default=None, gt=0, description="the largest 95th percentile of it, over the requests")
    p99_tpot_ms: float | None = Field(default=None, gt=0, description="the largest 99th percentile of it, over the requests")
    max_error_rate: float = Field(default=0.01, ge=0, le=1, description="the largest share of requests that may fail; 0.01 is 1 %")


# The figure of each limit of an SLO that only a language model has.
OF_TOKENS: Mapping[str, str] = {f"{part}_{stem}": f"{stem}_{part}" for stem in ("ttft_ms", "tpot_ms") for part in ("p50", "p95", "p99")}


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
        rate = self.load.rate or 0.0
        each = (rate + (self.load.rate_from or 0.0)) / 2 if self.load.pattern == "ramp" else rate
        requests = repeats * sum(phase.count or round(each * (phase.duration_s or 0.0)) for phase in self.phases)
        if requests > MAX_REQUESTS:
            asked = f"{requests} requests in {repeats} repeats are more than {MAX_REQUESTS}"
            raise ValueError(f"{asked}; send fewer, write fewer `repeats`, or split the job")


class Load:
    """Describes the kind `load`; see `shared.kinds.base.Kind`."""

    name = "load"
    spec = LoadSpec
    roles: tuple[str, ...] = ()
    optional_roles: tuple[str, ...] = ()
    marks = ("service",)
    keys: frozenset[str] = frozenset({"configuration", "service", "client", "benchmarks", "load", "slo", "monitoring", "warmup", "stop"})
    section = ""
    in_short_form = False
    default_repeats = 3
    headline = "requests_per_s"
    figures: Mapping[str, FigureKind] = {**FIGURES, **{name: one for kind in SERVICES.values() for name, one in kind.figures.items()}}

    def default_on(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        service = content.get("service")
        named = service.get("type") if isinstance(service, Mapping) else None
        return (CAPABILITIES[named],) if isinstance(named, str) and named in CAPABILITIES else ()

    def spec_of(self, settings: Any) -> LoadSpec:
        """Return the specification of a job.

        Raises:
            ValueError: two keys of the recipe contradict each other.
        """
        service, slo = settings.service, settings.slo
        kind = SERVICES[service.type]
        if settings.client is not None and CLIENT_TYPES[settings.client.type] != service.type:
            raise ValueError(f"the client {settings.client.type} is not for a service of the type {service.type}")
        foreign = [name for name, figure in OF_TOKENS.items() if slo is not None and getattr(slo, name) and figure not in kind.figures]
        if foreign:
            raise ValueError(f"`slo.{foreign[0]}` is for language models, and a service of the type {service.type} has no tokens")
        client = settings.client.settings if settings.client is not None else kind.client()
        arrivals = arrivals_of(settings.load, client)
        count, duration_s = amount_of(settings.load, client)
        many = settings.benchmarks
        phases = kind.phases(client, count, duration_s)
        if arrivals.trace_s is not None and count is None and duration_s is None:
            phases = whole_trace(len(arrivals.trace_s), phases, client)
        driver = settings.client.driver if settings.client is not None else OURS
        spec = LoadSpec(
            service=ServiceOfJob(type=service.type, name=service.name, settings=service.settings.model_dump(mode="json")),
            client=ClientOfJob(type=service.type, driver=driver, settings=client.model_dump(mode="json")),
            load=arrivals,
            slo=slo,
            phases=phases,
            concurrent_clients=client.concurrent_clients,
            num_clients=many.num_clients if many is not None else 1,
            client_delay_s=many.client_delay if many is not None else 0.0,
            warmup_delay_s=client.warmup_delay if service.address is None or "warmup_delay" in client.model_fields_set else 0.0,
            request_timeout_s=client.request_timeout_s,
        )
        refuse_what_it_cannot(spec, service.type)
        return spec

    def target_of(self, settings: Any) -> Target | None:
        service = settings.service
        if service.address is not None:
            return Existing(address=whole_address(SERVICES[service.type], service.address))
        return Launched(
            service=service.type,
            launcher=service.launcher or ("container" if service.image is not None else "process"),
            settings={} if service.image is None else {"image": service.image},
            fresh=service.fresh,
            restarts=service.restarts,
            health_timeout_s=service.health_timeout_s,
        )

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        del inputs
        return (spec.service.name or spec.service.type)[:255] if isinstance(spec, LoadSpec) else spec.kind

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        del written_in
        return stored
