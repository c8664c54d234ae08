"""Maps each element type to a numpy type, and converts stated values to it.

Types that numpy does not have (bfloat16, 8-bit floats) are stored as their bits, in the unsigned type of the same width. The engine
converts them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec

FLOATS: dict[str, type[np.floating]] = {"float16": np.float16, "float": np.float32, "double": np.float64}
INTEGERS: dict[str, type[np.integer]] = {
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
COMPLEX: dict[str, type[np.complexfloating]] = {"complex64": np.complex64, "complex128": np.complex128}
# These are the bits of 1.0 in the 8-bit floats. With this value, no calculation overflows at once.
FLOAT8_ONE = {"float8e4m3fn": 0x38, "float8e4m3fnuz": 0x40, "float8e5m2": 0x3C, "float8e5m2fnuz": 0x40}
Array = NDArray[Any]
_NUMBERS = (bool, int, float, complex, np.number, np.bool_)


def check_type(spec: InputSpec) -> None:
    """Check that values can be made for an input.

    Raises:
        ModelInvalid: The input has a type that cannot be filled.
    """
    kind = spec.element_type
    if not any(kind in known for known in (FLOATS, INTEGERS, COMPLEX, FLOAT8_ONE, ("bool", "string", "bfloat16"))):
        raise ModelInvalid(
            f"input {spec.name!r} has the type {kind}, for which no plausible values can be made up or given; "
            "numbers of 8 bits and more, booleans and texts can be measured; smaller numbers, sequences, maps and optional values cannot"
        )


def as_bfloat16(values: Array) -> NDArray[np.uint16]:
    bits = values.astype(np.float32).view(np.uint32)
    return (bits >> np.uint32(16)).astype(np.uint16)


def convert(values: Array, kind: str, where: str) -> Array:
    """Return stated values as an array of the input's element type.

    Raises:
        ModelInvalid: A value is of another kind (a text for a number), or does not fit into the type.
    """
    if kind == "string":
        if not all(isinstance(value, str) for value in values.flat):
            raise ModelInvalid(f"{where} has a value that is no text, but the input is of type string: write numbers in quotes")
        return values.astype(object)
    if kind in FLOAT8_ONE and values.dtype == np.uint8:
        return values
    if any(isinstance(value, str | bytes) for value in _some(values)):
        raise ModelInvalid(f"{where} has a text, but the input is of type {kind}")
    _check_numbers(values, kind, where)
    if kind == "bool":
        if not np.isin(values.astype(np.float64), (0, 1)).all():
            raise ModelInvalid(f"{where} has a value that is neither true nor false, but the input is of type bool")
        return values.astype(np.bool_)
    if kind in INTEGERS:
        return _whole(values, kind, where)
    if kind in FLOATS or kind in COMPLEX:
        return _rounded(values, FLOATS.get(kind) or COMPLEX[kind], kind, where)
    if kind == "bfloat16":
        return values if values.dtype == np.uint16 else as_bfloat16(_rounded(values, np.float32, kind, where))
    raise ModelInvalid(f"{where}: values of type {kind} cannot be given; leave them out")


def _check_numbers(values: Array, kind: str, where: str) -> None:
    """Check that values are numbers or booleans, and complex only where the input is complex.

    Raises:
        ModelInvalid: They are something else, such as the records, dates or raw bytes that a .npy file may hold.
    """
    letter = values.dtype.kind
    if letter == "c" and kind not in COMPLEX:
        raise ModelInvalid(f"{where} has complex numbers, but the input is of type {kind}: give their real part or their size")
    odd = next((value for value in values.flat if not isinstance(value, _NUMBERS)), None) if letter == "O" else None
    if odd is not None or letter not in "biufcO":
        what = f"the value {odd!r:.50}" if odd is not None else f"values of numpy's type {values.dtype!s:.100}"
        raise ModelInvalid(f"{where} has {what}, but the input is of type {kind}: save them as plain numbers")


def _rounded(values: Array, dtype: type[np.inexact[Any]], kind: str, where: str) -> Array:
    """Return the values in a type of floating-point numbers. Digits may be lost, as in every calculation.

    Raises:
        ModelInvalid: A finite value is too large for the type, and would become infinite.
    """
    wide = np.asarray(values, dtype=values.dtype if values.dtype.kind in "fc" else np.complex128 if kind in COMPLEX else np.float64)
    with np.errstate(over="ignore"):
        rounded = wide.astype(dtype)
    too_large = wide[np.isfinite(wide) & ~np.isfinite(rounded)]
    if too_large.size:
        largest = f"{np.finfo(np.dtype(dtype).name).max:g}"
        raise ModelInvalid(
            f"{where} has the value {too_large.ravel()[0]:g}, but the input is of type {kind}, whose largest number is {largest}"
        )
    return rounded


def _some(values: Array) -> Any:
    """Return the elements that may be of a wrong kind. Arrays of numpy's own number types have none."""
    return values.flat if values.dtype.kind in "OUS" else ()


def _whole(values: Array, kind: str, where: str) -> Array:
    flat = values.ravel()
    info = np.iinfo(INTEGERS[kind])
    if values.dtype.kind == "f":
        bad = flat[(flat != np.floor(flat)) | ~np.isfinite(flat)]
    else:
        bad = np.array([value for value in _some(values) if isinstance(value, float) and not value.is_integer()])
    if bad.size:
        raise ModelInvalid(f"{where} has the value {bad[0]}, but the input is of type {kind}, which holds whole numbers")
    if flat.size and not (info.min <= int(flat.min()) and int(flat.max()) <= info.max):
        raise ModelInvalid(
            f"{where} has values from {flat.min()} to {flat.max()}, but the input is of type {kind}: {info.min} to {info.max}"
        )
    return values.astype(INTEGERS[kind])
