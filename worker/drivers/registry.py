"""Maps each type of driver to its class. A new driver needs one file beside this one, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable, nearest
from worker.drivers.base import Driver
from worker.plug_ins import implementing

if TYPE_CHECKING:
    from worker.hardware import Hardware


@dataclass(frozen=True)
class FigureEntry:
    """Says how a figure that this type of service has, besides those of every load, is computed from the records of requests.

    Attributes:
        computed: A function, as `module:name`, that gets the phases of one repeat and returns the value, or None.
        phase: The phase that the figure is about. Empty means all phases.
        operation: The operation whose requests alone count. `computed` then gets its place, and returns such a function.
        unit: A function, as `module:name`, that gets the settings of the client and returns how many units one request stands for. Without
            it, requests are counted.
    """

    computed: str
    phase: str = ""
    operation: str = ""
    unit: str = ""


@dataclass(frozen=True)
class DriverEntry:
    """Says what the rest of the worker must know about a driver.

    Attributes:
        target: Where it is, as `module:Class`.
        needs: The libraries that it cannot do without; the extra `load` brings them.
        secrets: Keys and passwords that it may need, and the variable of the worker's environment that holds each.
        wire: The null server that finds the ceiling of its clients; see `worker.load.null_server`.
        answer_size: The client setting that says how large an answer of the null server is. Without it, an answer has 2 bytes.
        keeps: Whether it is a `worker.drivers.base.Keeper`.
        searches: Whether it is a `worker.drivers.base.Searcher`.
        fills: Phases that fill the service for the others. They are a closed loop without a warm-up, whatever the recipe says of requests,
            and enter only the figures that are about them.
        counts: Whether it is a `worker.drivers.base.Counter`.
        figures: The figures of `shared.services` that are computed from the records, by name.
    """

    target: str
    needs: tuple[str, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    wire: str = ""
    answer_size: str = ""
    keeps: bool = False
    searches: bool = False
    fills: tuple[str, ...] = ()
    counts: bool = False
    figures: Mapping[str, FigureEntry] = field(default_factory=dict)


_RATE, _DURATION = "worker.load.phases:rate", "worker.load.phases:duration_s"
_RATE_OF, _OBJECT = "worker.load.operations:rate_of", "worker.load.units:bytes_of_object"
_OF_VECTORS = {
    "insert_vps": FigureEntry(_RATE, "insert", unit="worker.load.units:vectors_of_insert"),
    "query_qps": FigureEntry(_RATE, "query"),
    "insert_duration": FigureEntry(_DURATION, "insert"),
    "query_duration": FigureEntry(_DURATION, "query"),
}

DRIVERS: dict[str, DriverEntry] = {
    "redis": DriverEntry(
        "worker.drivers.redis:RedisDriver",
        ("hiredis",),
        (("password", "FLEETMARK_WORKER_REDIS_PASSWORD"),),
        wire="redis",
        answer_size="value_size_bytes",
        figures={"ops_per_second": FigureEntry(_RATE), "bytes_per_second": FigureEntry("worker.load.phases:bytes_per_s")},
    ),
    "postgres": DriverEntry(
        "worker.drivers.postgres:PostgresDriver",
        ("asyncpg",),
        (("password", "FLEETMARK_WORKER_POSTGRES_PASSWORD"),),
        wire="postgres",
        figures={
            "insert_tps": FigureEntry(_RATE, "insert"),
            "select_qps": FigureEntry(_RATE, "select"),
            "insert_duration": FigureEntry(_DURATION, "insert"),
            "select_duration": FigureEntry(_DURATION, "select"),
            "total_duration": FigureEntry(_DURATION),
        },
    ),
    "http": DriverEntry(
        "worker.drivers.http:HttpDriver", ("httptools",), (("authorization", "FLEETMARK_WORKER_HTTP_AUTHORIZATION"),), wire="http"
    ),
    "minio": DriverEntry(
        "worker.drivers.minio:MinioDriver",
        ("httptools",),
        (("access_key", "FLEETMARK_WORKER_MINIO_ACCESS_KEY"), ("secret_key", "FLEETMARK_WORKER_MINIO_SECRET_KEY")),
        wire="minio",
        answer_size="object_size_bytes",
        figures={
            "put_ops_per_second": FigureEntry(_RATE_OF, operation="put"),
            "get_ops_per_second": FigureEntry(_RATE_OF, operation="get"),
            "put_bytes_per_second": FigureEntry(_RATE_OF, operation="put", unit=_OBJECT),
            "get_bytes_per_second": FigureEntry(_RATE_OF, operation="get", unit=_OBJECT),
        },
    ),
    "chroma": DriverEntry(
        "worker.drivers.chroma:ChromaDriver",
        ("httptools", "numpy"),
        (("key", "FLEETMARK_WORKER_CHROMA_TOKEN"),),
        wire="chroma",
        answer_size="top_k",
        searches=True,
        fills=("insert",),
        figures=_OF_VECTORS,
    ),
    "qdrant": DriverEntry(
        "worker.drivers.qdrant:QdrantDriver",
        ("httptools", "numpy"),
        (("key", "FLEETMARK_WORKER_QDRANT_API_KEY"),),
        wire="qdrant",
        answer_size="top_k",
        searches=True,
        fills=("insert",),
        figures=_OF_VECTORS,
    ),
    "openai": DriverEntry(
        "worker.drivers.openai:OpenAiDriver",
        ("httptools",),
        (("key", "FLEETMARK_WORKER_OPENAI_API_KEY"),),
        wire="openai",
        answer_size="max_tokens",
        keeps=True,
    ),
    "vllm": DriverEntry(
        "worker.drivers.openai:VllmDriver",
        ("httptools",),
        (("key", "FLEETMARK_WORKER_VLLM_API_KEY"),),
        wire="openai",
        answer_size="max_tokens",
        keeps=True,
    ),
    "ollama": DriverEntry(
        "worker.drivers.ollama:OllamaDriver",
        ("httptools",),
        (("key", "FLEETMARK_WORKER_OLLAMA_API_KEY"),),
        wire="ollama",
        answer_size="max_tokens",
        keeps=True,
    ),
    "triton": DriverEntry(
        "worker.drivers.triton:TritonDriver",
        ("httptools",),
        (("authorization", "FLEETMARK_WORKER_TRITON_AUTHORIZATION"),),
        wire="triton",
        counts=True,
    ),
    # Answers on a schedule that is known in advance, so that tests can check what is made of it. No recipe asks for it.
    "fake": DriverEntry("worker.drivers.fake:FakeDriver"),
}


def why_not(name: str) -> str:
    """Return why this device has no such driver, or an empty text if it has."""
    entry = DRIVERS.get(name)
    if entry is None:
        return f"this worker has no driver for {name!r}: {nearest(name, list(DRIVERS))}"
    missing = [library for library in entry.needs if find_spec(library) is None]
    return f"the driver of {name} needs {', '.join(missing)}: install the extra 'load' on this device" if missing else ""


def why_not_here(capability: str, hardware: Hardware) -> str:
    """Return why this device cannot drive the service of a capability, or an empty text if it can."""
    del hardware
    return why_not(driver_of(capability))


def driver_of(capability: str) -> str:
    """Return the name of the driver that a capability stands for: what follows the first dot."""
    return capability.partition(".")[2]


def fills_of(name: str) -> tuple[str, ...]:
    """Return the phases of a driver that fill the service; see `DriverEntry.fills`."""
    return DRIVERS[name].fills if name in DRIVERS else ()


def figures_of(name: str) -> Mapping[str, FigureEntry]:
    """Return the figures that only the service of a driver has; see `DriverEntry.figures`."""
    return DRIVERS[name].figures if name in DRIVERS else {}


def credentials(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the keys and passwords of a driver that the worker's environment has."""
    return {secret: environment[variable] for secret, variable in DRIVERS[name].secrets if environment.get(variable)}


def variables_of(capability: str) -> tuple[str, ...]:
    """Return the variables of the worker's environment that hold the keys and passwords for a capability."""
    entry = DRIVERS.get(driver_of(capability), DriverEntry(""))
    return tuple(variable for _, variable in entry.secrets)


def resolve(name: str) -> type[Driver]:
    """Import and return the class of a driver.

    Raises:
        EngineUnavailable: There is none, or its libraries are missing.
    """
    if reason := why_not(name):
        raise EngineUnavailable(reason)
    driver: type[Driver] = implementing(Driver, DRIVERS[name].target)
    return driver
