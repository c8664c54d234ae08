"""Makes values for an input that the recipe leaves open: seeded, plausible, and within what the graph accepts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.random
from numpy.typing import NDArray

from worker.engines.base import InputSpec, Limits
from worker.engines.inputs.batch import is_sequence, words
from worker.engines.inputs.types import COMPLEX, FLOAT8_ONE, FLOATS, INTEGERS, Array, as_bfloat16

# These values are small enough for the vocabulary of any tokenizer, and for the tables of small test models.
VOCABULARY = 100
_SOME_TEXT = "text"
_LARGEST = 2**63 - 1  # numbers are made as int64
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def made_values(spec: InputSpec, shape: tuple[int, ...], limits: Limits, length: int, random: np.random.Generator) -> tuple[Array, str]:
    """Return values for one input, in its element type, and a short sentence about how they were made.

    Args:
        length: The size of the sequence in another input. An input that holds lengths is filled with it.
    """
    kind = spec.element_type
    if limits.rule is not None:
        return _by_rule(kind, shape, limits)
    if kind == "string":
        return _texts(shape, limits, random)
    if kind in FLOATS:
        floats, said = _floats(spec, shape, limits, random)
        return floats.astype(FLOATS[kind]), said
    if kind == "bfloat16":
        floats, said = _floats(spec, shape, limits, random)
        return as_bfloat16(floats), said
    if kind in FLOAT8_ONE:
        return np.full(shape, FLOAT8_ONE[kind], dtype=np.uint8), "all 1"
    if kind in INTEGERS:
        integers, said = _integers(spec, shape, limits, length, random)
        return _fitting(integers, kind), said
    if kind == "bool":
        return _booleans(spec.name, shape, random)
    values = random.random(shape) + 1j * random.random(shape)
    return values.astype(COMPLEX[kind]), "drawn from 0 to 1"


def is_unstated_choice(spec: InputSpec, shape: tuple[int, ...]) -> bool:
    """Return whether an input is a single boolean and no mask. What it decides is unknown, so it is fixed and not drawn at random."""
    return spec.element_type == "bool" and int(np.prod(shape)) == 1 and not _is_mask(spec.name)


def _fitting(values: Array, kind: str) -> Array:
    """Return whole numbers as an integer type. A number beyond the type becomes its end, and does not wrap around to a negative number."""
    info = np.iinfo(INTEGERS[kind])
    return np.clip(values, info.min, min(info.max, _LARGEST)).astype(INTEGERS[kind])


def _by_rule(kind: str, shape: tuple[int, ...], limits: Limits) -> tuple[Array, str]:
    rule = limits.rule
    filled = np.resize(np.array(rule), shape) if isinstance(rule, tuple) else np.full(shape, rule)
    if isinstance(rule, bool) and kind != "bool":
        rule = int(rule)
    shown = f"{list(rule)}" if isinstance(rule, tuple) else f"{rule:g}" if isinstance(rule, float) else str(rule).lower()
    said = f"{shown} by rule, since it {limits.steers or limits.because.removeprefix('it ')}"
    if kind in INTEGERS:
        return _fitting(filled, kind), said
    if kind == "bool":
        return filled.astype(np.bool_), said
    if kind == "bfloat16":
        return as_bfloat16(filled), said
    if kind in FLOATS:
        return filled.astype(FLOATS[kind]), said
    return np.full(shape, _SOME_TEXT, dtype=object), said


def _texts(shape: tuple[int, ...], limits: Limits, random: np.random.Generator) -> tuple[Array, str]:
    filled = np.full(shape, _SOME_TEXT, dtype=object)
    if limits.words:
        filled = np.array(limits.words, dtype=object)[random.integers(0, len(limits.words), shape)]
        filled = np.asarray(filled, dtype=object).reshape(shape)
    for column, own in limits.columns.items():
        if own.words and shape and column < shape[-1]:
            filled[..., column] = np.array(own.words, dtype=object)[random.integers(0, len(own.words), shape[:-1])]
    known = bool(limits.words) or any(own.words for own in limits.columns.values())
    return filled, "drawn from the texts that the model knows" if known else f"all {_SOME_TEXT!r}: the model names no texts that it knows"


def _floats(spec: InputSpec, shape: tuple[int, ...], limits: Limits, random: np.random.Generator) -> tuple[NDArray[np.float64], str]:
    """Return numbers from 0 to 1, like the values of an image. A mask is all ones. An index or a category becomes a whole number."""
    if _is_mask(spec.name):
        return np.ones(shape), "all 1, as a mask"
    if limits.high is None and not limits.words and not limits.columns:
        return random.random(shape), "drawn from 0 to 1"
    values: NDArray[np.float64] = random.random(shape)
    if limits.high is not None or limits.words:
        values = _drawn(spec, shape, limits, random)[0].astype(np.float64)
    return _by_column(spec, values, limits, random), "drawn, whole numbers where the model knows or indexes them"


def _by_column(spec: InputSpec, values: Array, limits: Limits, random: np.random.Generator) -> Array:
    """Return the same values, in which each column with limits of its own is redrawn within them."""
    for column, own in limits.columns.items():
        if values.ndim and column < values.shape[-1]:
            values[..., column] = _drawn(spec, values.shape[:-1], own, random)[0]
    return values


def _booleans(name: str, shape: tuple[int, ...], random: np.random.Generator) -> tuple[Array, str]:
    if _is_mask(name):
        return np.ones(shape, dtype=np.bool_), "all true, as a mask"
    if int(np.prod(shape)) == 1:
        return np.zeros(shape, dtype=np.bool_), "false by rule, since a single boolean may steer the model"
    return random.integers(0, 2, shape).astype(np.bool_), "drawn from false and true"


def _integers(
    spec: InputSpec, shape: tuple[int, ...], limits: Limits, length: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], str]:
    name = spec.name.lower()
    low, high = limits.low, limits.high
    if _is_mask(name):
        return np.ones(shape, dtype=np.int64), "all 1, as a mask"
    if ("token_type" in name or "segment" in name) and (low or 0) <= 0:
        return np.zeros(shape, dtype=np.int64), "all 0, as token types"
    if "position" in name and not limits.columns:
        steps = np.arange(shape[-1] if shape else 1, dtype=np.int64) + max(0, low or 0)
        places = np.broadcast_to(steps if shape else steps[0], shape).copy()
        if high is not None:
            return np.minimum(places, high), f"counted up from {max(0, low or 0)}, at most {high}, as {limits.because}"
        return places, "counted up, as positions"
    if high is None and (limits.is_length or (_is_length(name) and not limits.columns and len(shape) <= 1)):
        return np.full(shape, length, dtype=np.int64), f"all {length}, as the length of the sequence"
    values, said = _drawn(spec, shape, limits, random)
    if limits.columns:
        return _by_column(spec, values, limits, random), "drawn, each column from the values that the model knows for it"
    return values, f"{said}, as {limits.because}" if limits.because else said


def _drawn(spec: InputSpec, shape: tuple[int, ...], limits: Limits, random: np.random.Generator) -> tuple[NDArray[np.int64], str]:
    low, high = limits.low, limits.high
    # An encoder may know a number as a text, because the graph converts the number to a text first.
    known = np.array([int(word) for word in limits.words if isinstance(word, int) or _WHOLE.fullmatch(word)], dtype=np.int64)
    if known.size:
        return np.asarray(known[random.integers(0, known.size, shape)]), f"drawn from {known.size} values"
    if spec.element_type in ("uint8", "int8") and len(shape) >= 3 and high is None:  # it is an image or a quantized tensor, not token ids
        most = 255 if spec.element_type == "uint8" else 127
    else:
        most = VOCABULARY - 1
    least = max(0, low or 0)
    if high is not None and high < least:  # only negative numbers are inside the table, or it has no rows
        least = min(high, low or high)
    most = max(least, most if high is None else min(high, int(np.iinfo(INTEGERS.get(spec.element_type, np.int64)).max)))
    return np.asarray(random.integers(least, most, shape, dtype=np.int64, endpoint=True)), f"drawn from {least} to {most}"


def _is_mask(name: str) -> bool:
    return "mask" in name.lower()


def _is_length(name: str) -> bool:
    found = words(name)
    return bool(found & {"length", "lengths", "len", "lens"}) or name.endswith(("_lens", "lengths"))


def length_beside(name: str, signature: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]], batch: str | None) -> int:
    """Return the size of the sequence in another input.

    It is a dimension whose name says sequence, else a free one that is not the batch, else the second one.
    """
    others = [spec for spec in signature if spec.name != name and len(shapes[spec.name]) >= 2]
    for spec in others:
        for axis, part in enumerate(spec.shape or ()):
            if isinstance(part, str) and is_sequence(part):
                return shapes[spec.name][axis]
    for spec in others:
        free = [axis for axis, part in enumerate(spec.shape or ()) if axis and part != batch and (not isinstance(part, int) or part < 0)]
        return shapes[spec.name][free[-1] if free else 1]
    return 1
