"""Finds the files that must be uploaded with an ONNX model: its external data, and files with input values that a recipe names."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import snapshots
from shared.errors import FieldError, InvalidInput, ModelInvalid
from shared.external_data import VALUE_FILES, external_locations, is_inside
from shared.model_packages import files_in, items_of, parts_of, shown_path

if TYPE_CHECKING:
    from shared.recipes import ModelEntry, Recipe


def external_files(model: Path) -> list[Path]:
    """Return the files that the tensors of `model` name, in the order of their first mention. For the manifest of a package
    and the `config.json` of a snapshot: its parts.

    The list is empty if the file is neither an ONNX model nor a manifest.

    Raises:
        InvalidInput: a file does not exist, or its name or a link leads out of the model's folder.
    """
    name = shown_path(model).name
    try:
        if (items := items_of(model, name)) is not None:
            return [model.parent / part for part in parts_of(items, files_in(model.parent, name), name)]
        if snapshots.is_snapshot(model):
            return [model.parent / part for part in snapshots.parts_of(snapshots.files_in(model.parent, name), name)]
    except ModelInvalid as error:
        raise _invalid(shown_path(model), error.detail) from error
    if model.stat().st_size == 0:  # an empty file cannot be mapped; the device that loads it reports the error
        return []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            found = [model.parent / location for location in external_locations(content, model.name)]
        except ModelInvalid as error:
            raise _invalid(model, f"{error.detail}; move its external data beside it") from error
    # The model's path may be a link, and its external data too, as in the cache of a hub. So a file may be in the folder of the link or in
    # the folder of the linked model.
    folders = (model.parent.resolve(), model.resolve().parent)
    for beside in found:
        if not beside.is_file():
            raise _invalid(model, f"its external data {beside.name!r} is missing; it belongs into {beside.parent}")
        if not any(beside.resolve().is_relative_to(folder) for folder in folders):
            raise _invalid(model, f"its external data {beside.name!r} is a link out of the model's folder; put the file itself there")
    return found


def value_files(recipe: Recipe, index: int, entry: ModelEntry, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the files that `options.values` names for a model, by their names in the recipe.

    Args:
        index: the index of `entry` among the recipe's entries.
        folders: the folders in which they are searched, in this order: that of the recipe, then that of the model.

    Raises:
        InvalidInput: a name leads out of these folders, the file does not exist, or a path of the sweep is not valid.
    """
    found = {}
    for name in dict.fromkeys(_names(recipe, index, entry)):
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None or not is_inside(name):
            where = " nor ".join(str(folder) for folder in dict.fromkeys(folders))
            message = f"options.values names the file {name!r}, which is neither in {where}; name it by its path relative to one of them"
            raise InvalidInput(message, fields=[FieldError("options.values", message)])
        found[name] = path
    return found


def _names(recipe: Recipe, index: int, entry: ModelEntry) -> Iterable[str]:
    from shared.recipes.axes import read_axes, replaced  # imported here, because only recipes need pydantic, which is slow to import

    for options in (recipe.options, entry.options):
        yield from _files_in((options.values if options else None) or {})
    for axis in read_axes(recipe):
        if axis.place in ((None, "options"), (index, "options")):
            for value in axis.values:
                options_set = replaced(None, axis.way, value, axis.path)
                yield from _files_in(options_set.get("values") if isinstance(options_set, dict) else None)


def _files_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        if value.endswith(VALUE_FILES):
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _files_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _files_in(part)


def _invalid(model: Path, why: str) -> InvalidInput:
    message = f"model {str(model)!r}: {why}"
    return InvalidInput(message, fields=[FieldError("model", message)])
