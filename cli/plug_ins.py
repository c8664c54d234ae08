"""Looks at the engines, tasks and scorers that other installed packages bring, without using them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared import plugins
from shared.capabilities import LABELS
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY = ("worker.engines.registry", "EngineEntry")  # the class of an engine's entry, as a module and a name


def look_at_packages() -> tuple[list[str], list[str]]:
    """Return the plug-ins that can be imported, such as `the engine cpu.mine`, and a sentence about each trouble.

    Whether an engine really runs here is another question: `fleetmark worker info` on the device answers it.
    """
    from shared.scorers import registry as scorers  # imported here, because they need pydantic, which is slow to import
    from shared.tasks import registry as tasks

    brought: list[str] = []
    troubles: list[str] = []
    rooms: dict[str, tuple[Callable[[], Mapping[str, EntryPoint]], Callable[[str, EntryPoint], object]]] = {
        "engine": (lambda: plugins.engines_of_packages(LABELS), lambda _name, point: _check_engine(point)),
        "task": (lambda: plugins.named_by_packages(plugins.TASKS, tasks.TASKS), lambda name, _point: tasks.task_named(name)),
        "scorer": (lambda: plugins.named_by_packages(plugins.SCORERS, scorers.SCORERS), lambda name, _point: scorers.scorer_named(name)),
    }
    for what, (named, load) in rooms.items():
        try:
            points = named()
        except InvalidInput as error:
            troubles.append(error.detail)
            continue
        for name, point in points.items():
            try:
                load(name, point)
                brought.append(f"the {what} {name}")
            except InvalidInput as error:
                troubles.append(error.detail)
    return brought, list(dict.fromkeys(troubles))


def _check_engine(point: EntryPoint) -> None:
    """Check that an entry point names what a worker takes for an engine.

    Raises:
        InvalidInput: It cannot be imported, or it is something else.
    """
    value, package = plugins.loaded(point, object)
    # The class is known by its name, because the command line does not import the worker.
    if not any((one.__module__, one.__name__) == ENTRY for one in type(value).__mro__):
        raise InvalidInput(
            f"{point.name} of the package {package}: {point.value} is {type(value).__name__}, and must be an {ENTRY[1]} of {ENTRY[0]}"
        )
