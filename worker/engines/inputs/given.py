"""Creates the values that a recipe states for an input: `options.values`.

A constant fills the whole input. Two numbers are a range with both ends included, from which each element is drawn. From a list of
texts each element is chosen at random. `{array: …}` gives every element. A text that ends in `.npz` or `.npy` names a file beside the
model.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random
from numpy.typing import NDArray

from shared.errors import ModelInvalid
from shared.external_data import VALUE_FILES, is_inside
from worker.engines.base import InputSpec


def given_values(
    spec: InputSpec, value: Any, shape: tuple[int, ...], random: np.random.Generator, folder: Path
) -> tuple[NDArray[Any], str]:
    """Return the elements that the recipe states for an input, not yet in its type, and a short sentence about their origin.

    Raises:
        ModelInvalid: The file cannot be read, or the values do not fit the input's type or shape.
    """
    where = f"options.values.{spec.name}"
    if isinstance(value, str) and value.endswith(VALUE_FILES):
        return _shaped(_from_file(folder, value, spec.name, where), shape, f"{where}: {value}"), f"from {value}"
    if isinstance(value, Mapping):
        return _shaped(_array(value["array"], where), shape, where), "the recipe's array"
    if isinstance(value, bool | int | float | str):
        return np.full(shape, value, dtype=object), f"all {_shown(value)}, from the recipe"
    return _drawn(list(value), shape, random, where)


def _drawn(options: Sequence[Any], shape: tuple[int, ...], random: np.random.Generator, where: str) -> tuple[NDArray[Any], str]:
    if all(isinstance(option, str) for option in options) or all(isinstance(option, bool) for option in options):
        picked = np.array(options, dtype=object)[random.integers(0, len(options), shape)]
        return np.asarray(picked, dtype=object).reshape(shape), f"drawn from {len(options)} values of the recipe"
    if len(options) != 2 or any(isinstance(option, bool | str) for option in options):
        raise ModelInvalid(
            f"{where} is {list(options)!s:.200}: two numbers are a range [low, high], both ends included, and a list of texts is a choice; "
            f"to give every element write {where}: {{array: …}}"
        )
    low, high = options
    if low > high:
        raise ModelInvalid(f"{where} is the range [{low}, {high}], whose low end is above its high end")
    said = f"drawn from {low} to {high}, from the recipe"
    if isinstance(low, int) and isinstance(high, int):
        if low < -(2**63) or high >= 2**63:
            raise ModelInvalid(f"{where} is the range [{low}, {high}]; the ends of a range lie between -2^63 and 2^63 - 1")
        return np.asarray(random.integers(low, high, shape, dtype=np.int64, endpoint=True)), said
    return np.asarray(low + (high - low) * random.random(shape)), said


def _array(nested: Any, where: str) -> NDArray[Any]:
    try:
        array = np.array(nested)
    except ValueError as error:
        raise ModelInvalid(f"{where} has rows of different length") from error
    return array.astype(object) if array.dtype.kind == "U" else array


def _shaped(array: NDArray[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    if array.shape != shape:
        raise ModelInvalid(
            f"{where} has the shape {list(array.shape)}, but the input is bound with {list(shape)}: "
            "give options.dims or options.shapes that fit, or other values"
        )
    return array


def _from_file(folder: Path, name: str, spec_name: str, where: str) -> NDArray[Any]:
    if not is_inside(name):
        raise ModelInvalid(f"{where} is {name!r}: a file of values is named by a relative path inside the model's own folder")
    path = folder / name
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            names = list(archive.files)
            chosen = spec_name if spec_name in names else names[0] if len(names) == 1 else None
            if chosen is None:
                raise ModelInvalid(f"{where}: {name} has no array {spec_name!r}; it has {', '.join(names) or 'none'}")
            return np.asarray(archive[chosen])
    except FileNotFoundError as error:
        raise ModelInvalid(
            f"{where}: {name} is not beside the model; put it there. `fleetmark run` uploads it with a model of this machine"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelInvalid(f"{where}: {name} cannot be read as numpy's .npz or .npy without pickled objects: {error!s:.200}") from error


def _shown(value: bool | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
