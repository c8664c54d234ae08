"""The files that travel with an ONNX model: its external data, which lies beside it."""

from __future__ import annotations

import mmap
from pathlib import Path

from shared.errors import FieldError, InvalidInput, ModelInvalid
from shared.external_data import external_locations


def external_files(model: Path) -> list[Path]:
    """The files named by the tensors of `model`, in the order of their first mention; empty for what is no ONNX model.

    Raises:
        InvalidInput: a name, or a link, leads out of the model's folder, or there is no such file.
    """
    if model.stat().st_size == 0:  # what cannot be mapped; the device that loads it says what it is
        return []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            found = [model.parent / location for location in external_locations(content, model.name)]
        except ModelInvalid as error:
            raise _invalid(model, f"{error.detail}; move its external data beside it") from error
    folders = (model.parent.resolve(), model.resolve().parent)  # of the name, and of the file: a cache may link to both from one folder
    for beside in found:
        if not beside.is_file():
            raise _invalid(model, f"its external data {beside.name!r} is missing; it belongs into {beside.parent}")
        if not any(beside.resolve().is_relative_to(folder) for folder in folders):
            raise _invalid(model, f"its external data {beside.name!r} is a link out of the model's folder; put the file itself there")
    return found


def _invalid(model: Path, why: str) -> InvalidInput:
    message = f"model {str(model)!r}: {why}"
    return InvalidInput(message, fields=[FieldError("model", message)])
