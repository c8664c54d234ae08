"""Resolves the data sets that a recipe names into references that a worker can fetch and verify."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.operations.context import Context
from orchestrator.operations.models import path_of
from orchestrator.store import results
from shared.addresses import shown_address
from shared.controls import as_one_line
from shared.errors import FieldError, InvalidInput, nearest
from shared.inputs import ModelRef
from shared.kinds.generation_task import is_named_dataset
from shared.recipes.cells import Cell
from shared.sources import UPLOAD, model_name, upload_of
from shared.tasks.datasets import read_dataset
from shared.tasks.registry import task_named
from shared.tasks.wiki import fetched_from, is_address


def resolve_datasets(ctx: Context, cells: Iterable[Cell]) -> dict[str, ModelRef]:
    """Return the reference of each data set that the cells name by an upload or an address, by what they call it.

    A data set that its task knows by name has none. Every line of an upload is read: a mistake shall be known before anything is measured.

    Raises:
        InvalidInput: a data set is neither, was not uploaded, or has a line that is not a document.
    """
    named = {cell.dataset: cell.task.name for cell in cells if cell.task is not None and cell.dataset is not None}
    found = {}
    for source, name in named.items():
        task = task_named(name)
        if is_named_dataset(task, source):
            continue
        if is_address(source):
            found[source] = _of_address(source)
            continue
        if not source.startswith(UPLOAD):
            raise _invalid(
                source,
                f"it is no address, no sha256:<hex> of an upload, and no data set of the task {name}. `fleetmark run` uploads one. "
                f"{nearest(source, list(task.datasets))}",
            )
        found[source] = _uploaded(ctx, source)
    return found


def _of_address(source: str) -> ModelRef:
    """Return a reference that the worker fetches, by its own rules for addresses that a recipe names. Nothing is fetched here."""
    try:
        return ModelRef(source=fetched_from(source), name=model_name(source))
    except ValueError as error:
        raise _invalid(shown_address(source), f"it {error}") from error


def _uploaded(ctx: Context, source: str) -> ModelRef:
    try:
        sha256, name = upload_of(source)
    except ValueError as error:
        raise _invalid(source, str(error)) from error
    with ctx.store.read() as session:
        stored = results.models(session, [sha256]).get(sha256)
    path = path_of(ctx, sha256)
    if stored is None or not path.is_file():
        raise _invalid(source, f"nothing with the SHA-256 {sha256} was uploaded, or it is gone; POST /api/models takes it")
    name = name or as_one_line(stored.name)
    try:
        read_dataset(path)
    except ValueError as error:
        raise _invalid(name, str(error)) from error
    return ModelRef(source=f"{UPLOAD}{sha256}", name=name, sha256=sha256, size=stored.size)


def _invalid(source: str, why: str) -> InvalidInput:
    message = f"dataset {source!r:.300}: {why}"
    return InvalidInput(message, fields=[FieldError("dataset", message)])
