"""Inputs that follow a model's own signature: every input, its type and shape, seeded and plausible.

Types that numpy does not have (bfloat16, float8, 4-bit integers) come as their bits in the unsigned type of the same
width; the engine knows what to make of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.random  # 20 ms that numpy puts off until it is used: the guard imports it once, before it forks
from numpy.typing import NDArray

from shared.errors import ModelInvalid, nearest
from worker.engines.base import InputSpec, Options

Array = NDArray[np.generic]

# Small enough to lie in the vocabulary of any tokenizer and in the range of any index that a toy model knows.
VOCABULARY = 100
# 2 GB of input is no plausible call, but a mistaken shape.
MAX_ELEMENTS = 2**29

_FLOATS: dict[str, type[np.floating]] = {"float16": np.float16, "float": np.float32, "double": np.float64}
_INTEGERS: dict[str, type[np.integer]] = {
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
# Bits of 1.0 and the storage of the 8-bit floats: enough for a value that every arithmetic survives.
_FLOAT8_ONE = {"float8e4m3fn": 0x38, "float8e4m3fnuz": 0x40, "float8e5m2": 0x3C, "float8e5m2fnuz": 0x40}


def make_inputs(signature: Sequence[InputSpec], options: Options) -> dict[str, Array]:
    """One array an input, in the order of the signature; the same options give the same values.

    Raises:
        ModelInvalid: an input whose type cannot be made up, or options that do not fit the model.
    """
    names = [spec.name for spec in signature]
    for name in options.shapes or {}:
        if name not in names:
            raise ModelInvalid(f"options.shapes names {name!r}, which is no input of the model: {nearest(name, names)}")
    random = np.random.default_rng(options.seed)
    return {spec.name: _values(spec, resolve_shape(spec, options), random) for spec in signature}


def resolve_shape(spec: InputSpec, options: Options) -> tuple[int, ...]:
    """The shape to call with: the recipe's, else the model's with symbolic dimensions 1 (leading one: the batch size).

    Raises:
        ModelInvalid: the recipe's shape has another rank, or contradicts a fixed dimension.
    """
    wanted = (options.shapes or {}).get(spec.name)
    if wanted is not None:
        _check_shape(spec, wanted)
        shape = wanted
    elif spec.shape is None:
        raise ModelInvalid(f"input {spec.name!r} does not say its shape: give options.shapes.{spec.name}")
    else:
        shape = tuple(_dimension(place, dimension, options) for place, dimension in enumerate(spec.shape))
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelInvalid(f"input {spec.name!r} of shape {list(shape)} has more than {MAX_ELEMENTS} elements; give a smaller shape")
    return shape


def _dimension(place: int, dimension: int | str | None, options: Options) -> int:
    if isinstance(dimension, int) and dimension >= 0:
        return dimension
    return options.batch_size if place == 0 and options.batch_size else 1


def _check_shape(spec: InputSpec, wanted: tuple[int, ...]) -> None:
    if spec.shape is None:
        return
    fits = len(spec.shape) == len(wanted) and all(
        not isinstance(have, int) or have < 0 or have == want for have, want in zip(spec.shape, wanted, strict=True)
    )
    if not fits or any(want < 0 for want in wanted):
        shown = [dimension if dimension is not None else "?" for dimension in spec.shape]
        raise ModelInvalid(
            f"options.shapes.{spec.name} is {list(wanted)}, but the model's input {spec.name!r} is {spec.element_type} {shown}"
        )


def _values(spec: InputSpec, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    kind = spec.element_type
    if kind in _FLOATS:
        return _floats(spec.name, shape, random).astype(_FLOATS[kind])
    if kind == "bfloat16":
        bits = _floats(spec.name, shape, random).astype(np.float32).view(np.uint32)
        return (bits >> np.uint32(16)).astype(np.uint16)
    if kind in _FLOAT8_ONE:
        return np.full(shape, _FLOAT8_ONE[kind], dtype=np.uint8)
    if kind in _INTEGERS:
        return _integers(spec, shape, random).astype(_INTEGERS[kind])
    if kind == "bool":
        return np.ones(shape, dtype=np.bool_) if _is_mask(spec.name) else random.integers(0, 2, shape).astype(np.bool_)
    if kind in ("complex64", "complex128"):
        values = random.random(shape) + 1j * random.random(shape)
        return values.astype(np.complex64 if kind == "complex64" else np.complex128)
    raise ModelInvalid(
        f"input {spec.name!r} has the type {kind}, for which no plausible values can be made up; "
        "tensors of numbers and booleans can be measured, strings, sequences, maps and optional values cannot"
    )


def _floats(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """0..1, as the values of an image are; a mask that is a float is all ones."""
    return np.ones(shape) if _is_mask(name) else random.random(shape)


def _integers(spec: InputSpec, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.int64]:
    name = spec.name.lower()
    if _is_mask(name):
        return np.ones(shape, dtype=np.int64)
    if "token_type" in name or "segment" in name:
        return np.zeros(shape, dtype=np.int64)
    if "position" in name:
        return (
            np.broadcast_to(np.arange(shape[-1] if shape else 1, dtype=np.int64), shape).copy() if shape else np.zeros((), dtype=np.int64)
        )
    if spec.element_type in ("uint8", "int8") and len(shape) >= 3:  # an image or a quantized tensor, not token ids
        return random.integers(0, 256 if spec.element_type == "uint8" else 128, shape)
    return random.integers(0, VOCABULARY, shape)


def _is_mask(name: str) -> bool:
    return "mask" in name.lower()
