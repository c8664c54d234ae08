"""Finds the user's own data sets on this machine, and reads them before they are uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import FieldError, InvalidInput
from shared.sources import UPLOAD

if TYPE_CHECKING:
    from shared.recipes import Recipe

KEY = "dataset"


def find_datasets(recipe: Recipe, recipe_folder: Path) -> dict[str, Path]:
    """Return the file of each data set on this machine that a recipe names, by what the recipe calls it. A path counts from its folder.

    Raises:
        InvalidInput: there is no such file, or a line of it is not a document.
    """
    if recipe.task is None:
        return {}
    # Imported here, because only recipes need pydantic, which is slow to import.
    from shared.kinds.generation_task import is_named_dataset
    from shared.tasks.datasets import read_dataset
    from shared.tasks.registry import task_named
    from shared.tasks.wiki import is_address

    task = task_named(recipe.task.name)
    found = {}
    for source in _named(recipe):
        if is_named_dataset(task, source) or source.startswith(UPLOAD) or is_address(source):
            continue
        path = recipe_folder / Path(source).expanduser()
        if not path.is_file():
            known = ", ".join(task.datasets)
            raise _invalid(source, f"there is no such file ({path.absolute()}). The task {task.name} knows the data sets {known}")
        try:
            read_dataset(path)
        except (ValueError, OSError) as error:
            raise _invalid(source, str(error)) from error
        found[source] = path
    return found


def fetched_datasets(recipe: Recipe) -> list[str]:
    """Return the data sets of a recipe that the device fetches, because they are named by an address."""
    from shared.tasks.wiki import is_address  # imported here for the same reason as above

    return [source for source in _named(recipe) if is_address(source)] if recipe.task is not None else []


def _named(recipe: Recipe) -> list[str]:
    swept = recipe.sweep.get(KEY, ())
    return [str(one) for one in dict.fromkeys([*([recipe.dataset] if recipe.dataset is not None else []), *swept])]


def with_uploads(body: dict[str, Any], sources: dict[str, str]) -> None:
    """Replace the data sets in the body of a submission by their uploads."""
    if body.get(KEY) in sources:
        body[KEY] = sources[body[KEY]]
    if KEY in body.get("sweep", {}):
        body["sweep"] = body["sweep"] | {KEY: [sources.get(one, one) for one in body["sweep"][KEY]]}


def _invalid(source: str, why: str) -> InvalidInput:
    message = f"dataset {source!r:.300}: {why}"
    return InvalidInput(message, fields=[FieldError(KEY, message)])
