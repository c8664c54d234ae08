"""Maps each sampler's name to its file. A new sampler needs one file beside this one, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from shared.columns import Feeds
from worker.plug_ins import implementing, named
from worker.samplers.base import Lack, Place, Sampler, Vanished


@dataclass(frozen=True)
class SamplerEntry:
    """Says where a sampler is (`module:Class`), which library it needs, and how often it is read.

    The module has a function `lack`, which says without opening anything why there is nothing to read on this device, or None.

    Attributes:
        period_s: About the time between two readings; 0 for every sample. At 10 Hz, 1 s means every eighth sample.
        feeds: Whose energy or power it may show; why it shows none is then the reason for an energy that is null.
        by_default: Whether it runs beside every measurement.
        services: The types of service that it watches, if it runs only beside a load on one of them.
    """

    target: str
    library: str = ""
    period_s: float = 0.0
    feeds: tuple[Feeds, ...] = ()
    by_default: bool = True
    services: tuple[str, ...] = ()


METRICS_PAGE = "prometheus"  # reads what a service tells of itself
SAMPLERS: dict[str, SamplerEntry] = {
    "processes": SamplerEntry("worker.samplers.processes:ProcessTree"),
    "device": SamplerEntry("worker.samplers.device:WholeDevice", period_s=0.2),
    "cpu": SamplerEntry("worker.samplers.cpu:CpuState", period_s=1.0),
    "nvml": SamplerEntry("worker.samplers.nvml:Nvml", library="pynvml", feeds=("gpu",)),
    "rapl": SamplerEntry("worker.samplers.rapl:Rapl", feeds=("cpu",)),
    "hwmon": SamplerEntry("worker.samplers.hwmon:Hwmon", feeds=("board",)),
    "battery": SamplerEntry("worker.samplers.battery:Battery", period_s=1.0, feeds=("board",)),
    METRICS_PAGE: SamplerEntry("worker.samplers.prometheus:PrometheusPage", period_s=1.0),
    "redis": SamplerEntry("worker.samplers.redis:RedisInfo", period_s=1.0, services=("redis",)),
    "postgres": SamplerEntry("worker.samplers.postgres:PostgresStatistics", library="asyncpg", period_s=1.0, services=("postgres",)),
    # This sampler follows a known schedule, so that tests know what must come out. It runs only where a test names it.
    "fake": SamplerEntry("worker.samplers.fake:FakeSampler", by_default=False),
}


def default_samplers(service: str = "") -> list[str]:
    """Return the samplers that run beside a measurement; `service` is the type of the service that is under load, if one is."""
    return [name for name, entry in SAMPLERS.items() if entry.by_default and (not entry.services or service in entry.services)]


def told_by_services(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of these samplers that read what a service tells of itself, and nothing of the device."""
    return tuple(name for name in names if name == METRICS_PAGE or SAMPLERS[name].services)


def lack_of(name: str, place: Place) -> Lack | None:
    """Return why a sampler has nothing to read on this device, or None if it has."""
    entry = SAMPLERS[name]
    if (missing := _library_missing(entry)) is not None:
        return missing
    try:
        lack: Callable[[Place], Lack | None] = named(f"{entry.target.partition(':')[0]}:lack")
        return lack(place)
    except Exception as error:  # noqa: BLE001 - a defect in one sampler must not take the others away
        return Lack(f"the sampler {name} failed: {type(error).__name__}: {error}")


def energy_sources(place: Place) -> dict[str, Lack | None]:
    """Return the samplers that may show an energy or a power, and for each why it shows none on this device, or None if it does."""
    return {name: lack_of(name, place) for name, entry in SAMPLERS.items() if entry.feeds}


def make(name: str, place: Place) -> Sampler:
    """Import a sampler's file and return a new sampler. Nothing is opened yet.

    Raises:
        Vanished: Its library is not installed.
    """
    if (missing := _library_missing(SAMPLERS[name])) is not None:
        raise Vanished(str(missing))
    sampler: Sampler = implementing(Sampler, SAMPLERS[name].target)(place)
    return sampler


def _library_missing(entry: SamplerEntry) -> Lack | None:
    if entry.library and find_spec(entry.library) is None:
        return Lack(f"the library {entry.library} is not installed")
    return None
