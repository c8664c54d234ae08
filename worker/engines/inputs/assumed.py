"""Warns of dimensions that nothing sized, where an input of size 1 stands for a sequence or an image of no real size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from worker.engines.base import InputSpec
from worker.engines.inputs import batch

TOKENS, PIXELS = 128, 224  # sizes that the advice shows: a usual length of a sequence, and a usual side of an image

Assumed = tuple[int, str | int | None]  # an axis, and what the model calls its dimension


def warnings(specs: Sequence[InputSpec], assumed: Mapping[str, int], batch_symbol: str | None) -> list[str]:
    """Return a warning for each input with such dimensions. A symbol gets one warning, at the first input that has it."""
    found: list[str] = []
    told: set[object] = set()
    for spec in specs:
        ones = list(_assumed_axes(spec, assumed, told))
        told.update(part for _, part in ones if part)
        if warning := _warning_of(spec, ones, batch_symbol):
            found.append(warning)
    return found


def _assumed_axes(spec: InputSpec, assumed: Mapping[str, int], told: set[object]) -> Iterator[Assumed]:
    seen: set[object] = set()
    for axis, part in enumerate(spec.shape or ()):
        name = part if isinstance(part, str) and part else f"{spec.name}[{axis}]"
        if name in assumed and part not in told and not (part and part in seen):
            seen.add(part)
            yield axis, part


def _warning_of(spec: InputSpec, ones: Sequence[Assumed], batch_symbol: str | None) -> str:
    steps = [part for _, part in ones if isinstance(part, str) and batch.is_sequence(part)]
    if steps:
        return _text(spec, "sequence", [f"{part} = 1" for part in steps], _dims_advice(steps[:1], TOKENS))
    sides = [(axis, part) for axis, part in ones if axis > 0 and (not part or part != batch_symbol)]
    if not sides:
        return ""
    rank = len(spec.shape or ())
    if rank in (4, 5) or (rank == 3 and any(_is_side(part) for _, part in sides)):
        named = [part for _, part in sides if isinstance(part, str) and part]
        return _text(spec, "image", [_one(spec, side) for side in sides], _dims_advice(named, PIXELS) if named else _shapes_advice(spec))
    if rank == 3 or (rank == 2 and "int" in spec.element_type):
        part = sides[0][1]
        return _text(spec, "sequence", [_one(spec, sides[0])], _dims_advice([str(part)], TOKENS) if part else _shapes_advice(spec))
    return ""


def _one(spec: InputSpec, one: Assumed) -> str:
    axis, part = one
    return f"{part or f'{spec.name}[{axis}]'} = 1"


def _dims_advice(names: Sequence[str], size: int) -> str:
    return f"options.dims: {{{', '.join(f'{batch.yaml_key(name)}: {size}' for name in names)}}}"


def _shapes_advice(spec: InputSpec) -> str:
    return f"options.shapes: {{{batch.yaml_key(spec.name)}: […]}}"


def _text(spec: InputSpec, what: str, ones: Sequence[str], mend: str) -> str:
    sized = "dimensions that nobody sized" if len(ones) > 1 else "a dimension that nobody sized"
    return f"input {spec.name!r} was measured with {' and '.join(ones)}, {sized}, so this is no {what} of a real size; give {mend}"


def _is_side(part: int | str | None) -> bool:
    """Return whether the name of a dimension says that it is a side of an image."""
    return isinstance(part, str) and bool(batch.words(part) & {"height", "width", "h", "w"})
