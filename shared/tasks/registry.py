"""Maps the name of each task to its record. A new task needs one file beside this one, and one line here.

A package may bring tasks of its own (`shared.plugins`). They are looked for when a name is none of ours, and never before.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module

from shared import plugins
from shared.errors import InvalidInput, nearest
from shared.tasks.base import DOCUMENT, Task

TASKS: dict[str, str] = {
    "summarization": "shared.tasks.summarization:TASK",
    "planted_fact": "shared.tasks.planted_fact:TASK",
    "json_arithmetic": "shared.tasks.json_arithmetic:TASK",
}


def task_named(name: str) -> Task:
    """Return a task.

    Raises:
        ValueError: there is none of this name. The message names the nearest.
        InvalidInput: a package brings a task that cannot be used.
    """
    if name in TASKS:
        module, _, record = TASKS[name].partition(":")
        task: Task = getattr(import_module(module), record)
        return task
    found = _of_packages()
    if name not in found:
        raise ValueError(f"there is no task {name!r:.100}: {nearest(name, [*TASKS, *found])}")
    return found[name]


@cache
def _of_packages() -> dict[str, Task]:
    """Return the tasks of other packages. They are found once in a process: a package that is installed later needs a new start."""
    found = {}
    for name, point in plugins.named_by_packages(plugins.TASKS, TASKS).items():
        task, package = plugins.loaded(point, Task)
        if DOCUMENT not in task.prompt:
            raise InvalidInput(f"the task {name} of the package {package} has a prompt without {DOCUMENT}: add it there")
        found[name] = replace(task, name=name, package=package)
    return found
