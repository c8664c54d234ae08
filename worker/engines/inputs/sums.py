"""Finds the dimensions of a model that are calculations of other dimensions, and works them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec
from worker.engines.inputs.expressions import Expression, parse

MAX_ELEMENTS = 2**29  # 2 GB of 32-bit elements: a larger input is most likely a mistake in the shape


def find_sums(specs: Sequence[InputSpec]) -> dict[str, Expression]:
    """Return the dimensions that are calculations.

    `a-b` counts as one only if one of its names is also a dimension by itself. A text without any name, such as `0`, is a symbol: an
    exporter numbered its free dimensions, and none of them has that number as its size.
    """
    parts = dict.fromkeys(part for spec in specs for part in spec.shape or () if isinstance(part, str))
    found = {part: made for part in parts if (made := parse(part)) is not None and made.names}
    plain = {part for part in parts if part not in found}
    return {part: made for part, made in found.items() if "-" not in part or " " in part or plain.intersection(made.names)}


def work_out(spec: InputSpec, expression: Expression, sizes: Mapping[str, int]) -> int:
    """Return the size of a calculated dimension, given the size of each symbol.

    Raises:
        ModelInvalid: The calculation has no result that a dimension can have.
    """
    given = ", ".join(f"{name}: {sizes[name]}" for name in expression.names)
    try:
        size = expression.value(sizes)
    except ZeroDivisionError:
        size = -1
    if not 0 <= size <= MAX_ELEMENTS:
        raise ModelInvalid(
            f"input {spec.name!r} has the dimension {expression.text!r}, which no size fits with {given}: change options.dims"
        )
    return size
