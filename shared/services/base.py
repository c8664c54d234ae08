"""Defines what each type of service says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import Field

from shared.figures import FigureKind
from shared.strict import Strict

MAX_REQUESTS = 10_000_000  # in each repeat, of all clients together
MAX_IN_FLIGHT = 65_536  # requests that one client process keeps in flight
MAX_RATE = 10_000_000.0
MAX_DURATION_S = 86_400.0

# Settings that most servers have.
PORT: Any = Field(default=None, ge=1, le=65_535, description="the port of the server; if it is left out, a free one is taken")
DATA_FOLDER: Any = Field(
    default="", max_length=4_096, description="an empty folder on the device for the data; if it is left out, a temporary folder of its own"
)


def left_alone(default_s: float) -> Any:
    """Return the setting `warmup_delay` with the default of a type of service, in seconds."""
    return Field(
        default=default_s,
        ge=0,
        le=3_600,
        description="how long a service that was just started is left alone before the first request, in seconds",
    )


class Phase(Strict):
    """Describes a part of the measurement: the operations that are sent in it, mixed at random by their weights.

    Phases follow each other. A phase ends after `count` requests of all clients together, or after `duration_s`; one of the two is set.
    """

    name: str = Field(max_length=40)
    operations: dict[str, float] = Field(min_length=1, max_length=20, description="the weight of each operation, by its name")
    count: int | None = Field(default=None, ge=1, le=MAX_REQUESTS)
    duration_s: float | None = Field(default=None, gt=0, le=MAX_DURATION_S)


class ClientSettings(Strict):
    """Holds the settings that the clients of every service have. `count` and `duration_s` may also stand in the section `load`."""

    concurrent_clients: int = Field(
        default=1, ge=1, le=MAX_IN_FLIGHT, description="how many requests each client process keeps in flight, one on each connection"
    )
    rate: float | None = Field(
        default=None, gt=0, le=MAX_RATE, description="requests per second of all clients together, as `load.rate`; a closed loop has none"
    )
    duration_s: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DURATION_S,
        description="how long each repeat sends requests, in seconds, instead of a number of requests",
    )
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1, description="as `load.seed`")
    warmup_delay: float = left_alone(5.0)
    request_timeout_s: float = Field(
        default=30.0, gt=0, le=3_600, description="after how many seconds without an answer a request counts as failed"
    )


class ServiceSettings(Strict):
    """Is the base of a service's own settings: how a server is started."""


@runtime_checkable
class PathRule(Protocol):
    """Is a type of service whose addresses cannot have every path. The others take any path, or do not look at it."""

    def check_path(self, path: str) -> None:
        """Check the path of an address, which begins with `/` or is empty.

        Raises:
            ValueError: no such service has this path. The message says what to write.
        """


class ServiceKind(Protocol):
    """Describes one type of service.

    Attributes:
        name: the type, as in `service.type` of a recipe. The capability is `service.<name>`.
        settings: the class of the settings with which a server is started.
        client: the class of the client's settings.
        client_types: the names that recipes use for the client, with the settings that each name stands for.
        startable: whether a worker can start such a server; otherwise a recipe must give its address.
        schemes: what an address of such a service begins with, before `://`. The first one may be left out: `127.0.0.1:6379`.
        figures: the figures of a result, besides those of every load.
    """

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> type[ServiceSettings]: ...
    @property
    def client(self) -> type[ClientSettings]: ...
    @property
    def client_types(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def startable(self) -> bool: ...
    @property
    def schemes(self) -> tuple[str, ...]: ...
    @property
    def figures(self) -> Mapping[str, FigureKind]: ...

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        """Return the phases of the measurement.

        Args:
            count: how many requests are sent, if the recipe's section `load` says so.
            duration_s: how long requests are sent, if the recipe says so. It is the time of all phases together.
        """


def one_phase(name: str, operations: dict[str, float], requests: int, duration_s: float | None) -> tuple[Phase, ...]:
    """Return the only phase of a load: it lasts `duration_s` or, if that is None, until `requests` requests were sent."""
    return (Phase(name=name, operations=operations, count=requests if duration_s is None else None, duration_s=duration_s),)


def whole_address(kind: ServiceKind, address: str) -> str:
    """Return an address of a service with its scheme: `redis://127.0.0.1:6379`.

    Raises:
        ValueError: it is no address of this type of service.
    """
    whole = address if "://" in address else f"{kind.schemes[0]}://{address}"
    parts = urlsplit(whole)
    known = " or ".join(f"`{scheme}://`" for scheme in kind.schemes)
    if parts.scheme not in kind.schemes:
        no_grpc = "; no gRPC is spoken, so give the address of its HTTP port" if parts.scheme.startswith("grpc") else ""
        raise ValueError(
            f"an address of a service of the type {kind.name} begins with {known}, and this one with `{parts.scheme}://`{no_grpc}"
        )
    try:
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise ValueError(f"an address names a host, and its port is a number from 1 to 65535: write it like {known}HOST:PORT")
    if isinstance(kind, PathRule):
        kind.check_path(parts.path)
    return whole


def mix_of(text: str, operations: tuple[str, ...]) -> dict[str, float]:
    """Return the weights in an operation mix such as `get:set=50:50`. A single operation may stand alone: `get`.

    Raises:
        ValueError: the text has another form, or names an operation that there is not.
    """
    names, _, shares = text.replace(" ", "").partition("=")
    listed = names.split(":")
    weights = shares.split(":") if shares else ["1"] * len(listed)
    known = " and ".join(operations)
    if len(set(listed)) < len(listed) or not set(listed) <= set(operations):
        raise ValueError(f"the operations of this service are {known}, each named once; write it like `{':'.join(operations)}=50:50`")
    try:
        numbers = [float(weight) for weight in weights]
    except ValueError:
        numbers = []
    if len(numbers) != len(listed) or any(not 0 <= number <= 1e6 for number in numbers) or not sum(numbers):
        raise ValueError(f"each operation needs one share that is 0 or more, such as `{':'.join(operations)}=50:50`")
    return {name: number for name, number in zip(listed, numbers, strict=True) if number}
