"""Finds the engines, tasks and scorers that other installed packages bring. Such a package names them in its `pyproject.toml`:

    [project.entry-points."fleetmark.engines"]
    "cpu.mine" = "my_package.my_engine:ENTRY"

The name is the capability, and the value is an `EngineEntry` of `worker.engines.registry`. The orchestrator reads only the names, so it
needs the package, but none of the libraries that the engine uses.

Tasks and scorers of language models are named in the same way, in the groups `fleetmark.tasks` and `fleetmark.scorers`. The name is the
one that recipes write, and the value is a `Task` of `shared.tasks.base` or a `Scorer` of `shared.scorers.base`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, TypeVar

from shared.errors import InvalidInput

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Loaded = TypeVar("Loaded")
ENGINES = "fleetmark.engines"
CAPABILITY = re.compile(r"(cpu|gpu|ane)(\.[a-z0-9_]+){1,2}")
MAX_CAPABILITY = 64  # the fields of messages have the same limit
TASKS, SCORERS = "fleetmark.tasks", "fleetmark.scorers"
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


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


def named_by_packages(group: str, known: Collection[str]) -> dict[str, EntryPoint]:
    """Return the tasks or scorers of other packages, by their names.

    Args:
        group: `TASKS` or `SCORERS`.
        known: The names that Fleetmark has itself.

    Raises:
        InvalidInput: A package brings a name that is taken, or that has not the form of one.
    """
    from importlib.metadata import entry_points  # for the reason above

    what = group.rpartition(".")[2].removesuffix("s")
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist is not None else "?"
        if NAME.fullmatch(point.name) is None:
            raise InvalidInput(
                f"the package {package} brings the {what} {point.name!r:.100}: a {what} is called like my_{what}, in lower case and "
                "with at most 64 characters. Rename it in that package, or uninstall the package"
            )
        if point.name in known or found.get(point.name, point) != point:
            raise InvalidInput(f"the package {package} brings the {what} {point.name}, which is taken: rename it there, or uninstall it")
        found[point.name] = point
    return found


def loaded(point: EntryPoint, wanted: type[Loaded]) -> tuple[Loaded, str]:
    """Return what an entry point names, and the package with its version, such as `my-package 1.2`.

    Raises:
        InvalidInput: It cannot be imported, or it is something else.
    """
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "?"
    try:
        value = point.load()
    except (Exception, SystemExit) as error:  # the package is not ours, and its code may raise anything
        raise InvalidInput(f"{point.name} of the package {package} cannot be loaded from {point.value}: {error!r}") from error
    if not isinstance(value, wanted):
        raise InvalidInput(
            f"{point.name} of the package {package}: {point.value} is {type(value).__name__}, and must be a {wanted.__name__} of "
            f"{wanted.__module__}"
        )
    return value, package
