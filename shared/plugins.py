"""Finds the engines that other installed packages bring. Such a package names them in its `pyproject.toml`:

    [project.entry-points."fleetmark.engines"]
    "cpu.mine" = "my_package.my_engine:ENTRY"

The name is the capability, and the value is an `EngineEntry` of `worker.engines.registry`. The orchestrator reads only the names, so it
needs the package, but none of the libraries that the engine uses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from shared.errors import InvalidInput

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENGINES = "fleetmark.engines"
CAPABILITY = re.compile(r"(cpu|gpu|ane)(\.[a-z0-9_]+){1,2}")
MAX_CAPABILITY = 64  # the fields of messages have the same limit


def engines_of_packages(known: Collection[str] = ()) -> dict[str, EntryPoint]:
    """Return the engines of other packages, by their capabilities.

    Args:
        known: The capabilities that Fleetmark has itself.

    Raises:
        InvalidInput: A package brings a capability that is taken, or whose name has not the form of one.
    """
    from importlib.metadata import entry_points  # takes 30 ms, and its memory would be part of each measured process

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENGINES):
        package = point.dist.name if point.dist is not None else "?"
        if len(point.name) > MAX_CAPABILITY or CAPABILITY.fullmatch(point.name) is None:
            raise InvalidInput(
                f"the package {package} brings an engine for {point.name!r}: a capability is called like cpu.mine or gpu.cuda.mine, "
                f"in lower case and with at most {MAX_CAPABILITY} characters. Rename it in that package, or uninstall the package"
            )
        if point.name in known or found.get(point.name, point) != point:
            raise InvalidInput(
                f"the package {package} brings an engine for {point.name}, which is taken: rename it there, or uninstall the package"
            )
        found[point.name] = point
    return found
