"""Maps each type of driver to its class. A new driver needs one file beside this one, and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable, nearest

if TYPE_CHECKING:
    from worker.drivers.base import Driver


@dataclass(frozen=True)
class DriverEntry:
    """Says what the rest of the worker must know about a driver.

    Attributes:
        target: Where it is, as `module:Class`.
        needs: The libraries that it cannot do without; the extra `load` brings them.
    """

    target: str
    needs: tuple[str, ...] = ()


DRIVERS: dict[str, DriverEntry] = {
    "redis": DriverEntry("worker.drivers.redis:RedisDriver", ("hiredis",)),
    "postgres": DriverEntry("worker.drivers.postgres:PostgresDriver", ("asyncpg",)),
    "http": DriverEntry("worker.drivers.http:HttpDriver", ("httptools",)),
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


def resolve(name: str) -> type[Driver]:
    """Import and return the class of a driver.

    Raises:
        EngineUnavailable: There is none, or its libraries are missing.
    """
    if reason := why_not(name):
        raise EngineUnavailable(reason)
    module, _, attribute = DRIVERS[name].target.partition(":")
    driver: type[Driver] = getattr(import_module(module), attribute)
    return driver
