"""Refuses a sweep in which a setting of the recipe or a swept value would take no effect. Otherwise jobs would not measure what it says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from shared.recipes.axes import Axis, leaves, refused, written
from shared.recipes.schema import ModelEntry, Recipe


def refuse_lost_values(recipe: Recipe, entries: Sequence[ModelEntry], axes: Sequence[Axis]) -> None:
    """Check that every swept value, and every setting beside it, takes effect.

    Raises:
        InvalidInput: another setting would override a swept value, or a swept mapping would drop keys that the recipe states.
    """
    stops = recipe.stop is not None or any(axis.place == (None, "stop") for axis in axes)
    if stops and (repeats := next((axis for axis in axes if axis.place == (None, "repeats")), None)):
        raise refused(repeats.path, "with `stop`, the rule decides how many repeats there are; sweep `stop.max_repeats`, or drop `stop`")
    _refuse_nested_paths(axes)
    for axis in axes:
        _refuse_dropped_keys(axis, recipe if axis.place[0] is None else entries[axis.place[0]])
    common = [(axis, axis.leaves()) for axis in axes if axis.place[0] is None]
    for index, entry in enumerate(entries):
        own = set(_own_leaves(entry)) | {leaf for axis in axes if axis.place[0] == index for leaf in axis.leaves()}
        for axis, swept in common if own else ():
            if (lost := next((mine for mine in own for leaf in swept if _overlap(mine, leaf)), None)) is not None:
                key = f"models.{index}.{'.'.join(lost)}"
                why = f"{key} is this model's own, so that the swept value would not reach it; leave one of the two out, or sweep {key}"
                raise refused(axis.path, why)


def _refuse_nested_paths(axes: Sequence[Axis]) -> None:
    """Refuse two paths of which one leads into the value of the other, such as `options.shapes` and `options.shapes.x`.

    Raises:
        InvalidInput: there are two such paths. The later one in the recipe would replace what the other one sets.
    """
    for one, other in itertools.combinations(axes, 2):
        if one.place == other.place and _overlap(one.way, other.way):
            outer, inner = sorted((one, other), key=lambda axis: len(axis.way))
            raise refused(inner.path, f"{outer.path!r} is swept too, and sets the same key, so a value would be lost; sweep one of them")


def _refuse_dropped_keys(axis: Axis, owner: Recipe | ModelEntry) -> None:
    """Refuse a swept mapping that lacks a key which the recipe states in its place, because the mapping replaces what is stated there.

    Raises:
        InvalidInput: a value of the axis would drop such a key.
    """
    stated = written(owner, axis.place[1])
    for key in axis.way:
        stated = stated.get(key) if isinstance(stated, dict) else None
    for value in axis.values:
        if (dropped := next(_dropped(stated, value), None)) is not None:
            lost = f"{axis.path}.{'.'.join(dropped)}"
            why = f"the value {value!r:.80} replaces the whole mapping and would drop {lost}; write it in each value, or sweep single keys"
            raise refused(axis.path, why)


def _dropped(stated: Any, value: Any) -> Iterator[tuple[str, ...]]:
    """Yield the ways to the keys of a mapping that another mapping in its place does not have."""
    if isinstance(stated, dict) and isinstance(value, dict):
        for key, inner in stated.items():
            if key not in value:
                yield (key,)
            else:
                yield from ((key, *rest) for rest in _dropped(inner, value[key]))


def _own_leaves(entry: ModelEntry) -> Iterator[tuple[str, ...]]:
    if entry.inferences is not None:
        yield ("inferences",)
    if entry.options is not None:
        yield from leaves(("options",), written(entry, "options"))


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
