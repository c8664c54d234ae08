"""Defines the sections of a recipe for a service under load. Those of `service` and `client` depend on the type of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, create_model, model_validator

from shared.kinds.load import MAX_CLIENTS
from shared.kinds.load_arrivals import Arrivals, Pattern
from shared.names import OneLine
from shared.services.base import MAX_DURATION_S, MAX_REQUESTS, ClientSettings, ServiceSettings, whole_address
from shared.services.native_tools import OURS, tools_of
from shared.services.registry import CLIENT_TYPES, SERVICES
from shared.strict import Strict

UNKNOWN_TYPE = "unknown_type"  # the type of an error of pydantic
# There are twenty of these sections, two for each type of service, and they are only read as parts of a recipe. So none of them makes a
# validator of its own, which would take every process that knows recipes 80 ms of its start.
_AS_A_PART = ConfigDict(defer_build=True)
_ONLY_CLUSTER = "for the job of a cluster; it has no effect with `target: local`, and a warning says so"


def _only_local(target: str) -> str:
    if target != "local":
        raise ValueError(
            f"this version cannot start work on the target {target!r:.60}; write `local`, which means the workers that are registered, "
            "and start a worker where the work shall run"
        )
    return target


class ConfigurationSection(Strict):
    target: Annotated[OneLine, AfterValidator(_only_local)] = Field(
        default="local", description="where the work runs; this version knows `local`, which means the workers that are registered"
    )


class PrometheusSection(Strict):
    partition: OneLine | None = Field(default=None, max_length=200, description=_ONLY_CLUSTER)
    time_limit: OneLine | None = Field(default=None, max_length=40, description=_ONLY_CLUSTER)
    port: int = Field(default=9090, ge=1, le=65_535, description="the port of Prometheus")
    scrape_interval: OneLine = Field(default="15s", max_length=20, description="how often Prometheus reads metrics")


class GrafanaSection(Strict):
    partition: OneLine | None = Field(default=None, max_length=200, description=_ONLY_CLUSTER)
    time_limit: OneLine | None = Field(default=None, max_length=40, description=_ONLY_CLUSTER)
    port: int = Field(default=3000, ge=1, le=65_535, description="the port of Grafana")
    admin_password: OneLine | None = Field(
        default=None, max_length=200, exclude=True, description="is not used, and is not kept with the results"
    )


class PushgatewaySection(Strict):
    enabled: bool = Field(default=True, description="whether there would be a push gateway")
    port: int = Field(default=9091, ge=1, le=65_535, description="the port of the push gateway")


class MonitoringSection(Strict):
    """Says what is watched beside the work. Telemetry is sampled beside every measurement, so `mode: local` changes nothing."""

    enabled: bool = Field(default=False, description="whether a monitoring stack is started; this version has only `mode: local`")
    mode: Literal["local", "prometheus_grafana"] = Field(
        default="local",
        description="`local` is the telemetry of the result, which is there in any case; `prometheus_grafana` is a stack that this version "
        "does not start",
    )
    prometheus: PrometheusSection | None = Field(default=None, description="the Prometheus of the stack")
    grafana: GrafanaSection | None = Field(default=None, description="the Grafana of the stack")
    pushgateway: PushgatewaySection | None = Field(default=None, description="the push gateway of the stack")
    dashboards: tuple[Annotated[OneLine, Field(max_length=100)], ...] = Field(
        default=(), max_length=50, description="the dashboards of the stack"
    )

    @model_validator(mode="after")
    def _only_what_is_there(self) -> MonitoringSection:
        if self.enabled and self.mode != "local":
            raise ValueError(
                f"this version starts no monitoring stack of the mode {self.mode}; write `enabled: false` or `mode: local`. "
                "The telemetry of each job is in its result, and a Prometheus of yours can read `GET /metrics` of the orchestrator"
            )
        return self


class ServiceSection(Strict):
    """Says which service is put under load. `settings` depends on the type."""

    model_config = _AS_A_PART

    type: str = Field(max_length=64, description="the type of the service: " + ", ".join(f"`{name}`" for name in SERVICES))
    name: OneLine = Field(default="", max_length=200, description="what reports call the service, if not by its type")
    address: OneLine | None = Field(
        default=None,
        min_length=1,
        max_length=4_096,
        description="where a service runs already, as its clients write it; no other is started",
    )
    launcher: Literal["process", "container"] | None = Field(
        default=None,
        description="how the worker starts the service: as a `process`, or in a `container` of docker, podman or apptainer; the default is "
        "`process`, and `container` in a recipe with an `image`",
    )
    image: OneLine | None = Field(default=None, min_length=1, max_length=1_000, description="the image of the container")
    fresh: Literal["repeat", "job", "campaign"] = Field(
        default="job",
        description="how long a started service lives: for one `repeat`, for all repeats of one `job`, or for all jobs of the `campaign` "
        "on a device that ask for the same service",
    )
    restarts: int = Field(default=1, ge=0, le=100, description="how often a service is started again that does not become healthy")
    health_timeout_s: float = Field(
        default=120.0, gt=0, le=86_400, description="how long a started service may take until it is healthy, in seconds"
    )
    partition: OneLine | None = Field(default=None, max_length=200, description=_ONLY_CLUSTER)
    account: OneLine | None = Field(default=None, max_length=200, description=_ONLY_CLUSTER)
    time_limit: OneLine | None = Field(default=None, max_length=40, description=_ONLY_CLUSTER)
    memory: OneLine | None = Field(default=None, max_length=40, description=_ONLY_CLUSTER)
    nodes: Literal[1] = Field(default=1, description="the number of machines; this version knows 1")
    num_gpus: int = Field(default=0, ge=0, le=64, description="above 0, the job goes only to a device that has a GPU")
    settings: ServiceSettings = ServiceSettings()

    @model_validator(mode="after")
    def _started_or_there(self) -> ServiceSection:
        kind = SERVICES[self.type]
        if self.address is None and not kind.startable:
            raise ValueError(f"a service of the type {self.type} is not started by this version: say where it runs, with `address`")
        if self.address is not None:
            whole_address(kind, self.address)
            started = ("launcher", "image", "fresh", "restarts", "health_timeout_s", "settings")
            if lost := [key for key in started if key in self.model_fields_set]:
                raise ValueError(f"`{lost[0]}` has no effect beside `address`, because that service runs already; leave one of them out")
        if self.image is not None and self.launcher == "process":
            raise ValueError("`image` has no effect with `launcher: process`; leave one of them out")
        if self.launcher == "container" and self.image is None:
            raise ValueError("`launcher: container` needs the `image` of the container")
        return self


class ClientSection(Strict):
    """Says what the clients send. `settings` depends on the type of the service."""

    model_config = _AS_A_PART

    type: str = Field(max_length=64, description="the client: the type of the service, or one of the names below")
    driver: OneLine = Field(
        default=OURS,
        min_length=1,
        max_length=64,
        description="who sends the requests: `fleetmark`, which are our own clients, or a trusted tool of the type of service: "
        + "; ".join(f"{', '.join(f'`{tool.name}`' for tool in tools_of(name))} for {name}" for name in SERVICES if tools_of(name))
        + ". `native` means the first of them",
    )
    name: OneLine = Field(default="", max_length=200, description="a name for people; nothing depends on it")
    partition: OneLine | None = Field(default=None, max_length=200, description=_ONLY_CLUSTER)
    account: OneLine | None = Field(default=None, max_length=200, description=_ONLY_CLUSTER)
    time_limit: OneLine | None = Field(default=None, max_length=40, description=_ONLY_CLUSTER)
    memory: OneLine | None = Field(default=None, max_length=40, description=_ONLY_CLUSTER)
    nodes: Literal[1] = Field(default=1, description="the number of machines; this version knows 1")
    num_gpus: Literal[0] = Field(default=0, description="the clients use no GPU")
    settings: ClientSettings = ClientSettings()


class BenchmarksSection(Strict):
    num_clients: int = Field(default=1, ge=1, le=MAX_CLIENTS, description="how many client processes there are, which start together")
    client_delay: float = Field(
        default=0.0, ge=0, le=3_600, description="how long the clients wait before they send, after all of them are ready, in seconds"
    )
    metrics: tuple[Annotated[OneLine, Field(max_length=100)], ...] = Field(
        default=("latency", "throughput"),
        max_length=50,
        description="what other frameworks would measure; every figure is measured in any case, and a warning names what is no figure",
    )
    repeats: int | None = Field(default=None, ge=1, le=1_000, description="the same as the recipe's `repeats`")


class LoadSection(Arrivals):
    """Says when requests are sent, and how many."""

    pattern: Pattern | None = Field(  # type: ignore[assignment]  # None means the default, which depends on the rate
        default=None,
        description="`closed` keeps a number of requests in flight; `constant`, `poisson`, `gamma` and `ramp` send at a `rate`, whatever "
        "the service does; `trace` sends at given times; the others are those of MLPerf. By default `closed`, or `constant` with a `rate`",
    )
    duration_s: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DURATION_S,
        description="how long each repeat sends requests, in seconds, instead of a number of requests",
    )
    count: int | None = Field(
        default=None, ge=1, le=MAX_REQUESTS, description="how many requests each repeat sends; the default is that of the client's settings"
    )


TAGGED: dict[str, type[BaseModel]] = {}  # the class of each section, by its tag


def _section_of(base: type[BaseModel], service: str, field: str, settings: type[BaseModel], types: tuple[str, ...]) -> Any:
    """Return the section of one type of service. Its errors name the tag in their location, where `parse` leaves it out again."""
    kinds: Any = Literal[types]
    made = create_model(
        f"{base.__name__}{service.title()}",
        __base__=base,
        type=(kinds, Field(description=base.model_fields["type"].description, default=types[0])),
        settings=(settings, Field(default_factory=settings, description=f"the settings of {field}; see below")),
    )
    tag = f"{field}-{service}"
    TAGGED[tag] = made
    return Annotated[made, Tag(tag)]


def _type_in(content: Any) -> Any:
    return content.get("type") if isinstance(content, dict) else getattr(content, "type", None)


def _service_tag(content: Any) -> str | None:
    named = _type_in(content)
    return f"service-{named}" if isinstance(named, str) and named in SERVICES else None


def _client_tag(content: Any) -> str | None:
    named = _type_in(content)
    return f"client-{CLIENT_TYPES[named]}" if isinstance(named, str) and named in CLIENT_TYPES else None


if TYPE_CHECKING:
    AnyService = ServiceSection
    AnyClient = ClientSection
else:
    AnyService = Annotated[
        Union[  # noqa: UP007 - made from a list
            tuple(_section_of(ServiceSection, name, "service", kind.settings, (name,)) for name, kind in SERVICES.items())
        ],
        Discriminator(
            _service_tag,
            custom_error_type=UNKNOWN_TYPE,
            custom_error_message=f"needs a `type` that this version can drive; it can drive: {', '.join(SERVICES)}",
        ),
    ]
    AnyClient = Annotated[
        Union[  # noqa: UP007 - made from a list
            tuple(_section_of(ClientSection, name, "client", kind.client, tuple(kind.client_types)) for name, kind in SERVICES.items())
        ],
        Discriminator(
            _client_tag,
            custom_error_type=UNKNOWN_TYPE,
            custom_error_message=f"needs a `type` that this version knows; it knows: {', '.join(CLIENT_TYPES)}",
        ),
    ]
