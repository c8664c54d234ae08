"""Finds each swept path of a recipe in the schema, and refuses paths that cannot be swept.

An axis is one swept path with its values. A "way" is a sequence of keys (and of indices of lists) that leads to a nested value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.errors import FieldError, InvalidInput
from shared.mistakes import unknown_key
from shared.recipes.keys import is_by_name, section
from shared.recipes.schema import ModelEntry, Recipe

OF_A_JOB = (
    "on",
    "devices",
    "inferences",
    "repeats",
    "loads",
    "warmup",
    "stop",
    "priority",
    "requires",
    "options",
    "timeout_s",
    "retries",
    "hardware",
    "prompts",
    "decoding",
    "task",
    "dataset",
    "prompt",
    "max_tokens",
    "evaluate",
    "service",
    "client",
    "load",
    "benchmarks",
    "slo",
)
OF_THE_CAMPAIGN = frozenset(
    {"name", "notes", "labels", "queue_timeout_s", "sweep", "configuration", "monitoring"}
)  # keys that apply to the campaign, not to a job
OF_AN_ENTRY = ("inferences", "options")  # keys that a model's entry may set for that model alone
_MODELS_STAY = "a sweep cannot change which models there are; list them all under `models`"

Place = tuple[int | None, str]  # an index of `models`, or None for the recipe itself, followed by a key there


@dataclass(frozen=True)
class Axis:
    """Describes one swept path.

    Attributes:
        path: the path as it is written in the recipe.
        place: the key that the path begins with.
        way: the keys below `place` that lead to the swept value. A name that contains dots is one key.
        values: the values that the path takes.
    """

    path: str
    place: Place
    way: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def owner(self) -> type[BaseModel]:
        return Recipe if self.place[0] is None else ModelEntry

    def leaves(self) -> set[tuple[str, ...]]:
        """Return the ways to everything that the axis sets; see the function `leaves`."""
        return {leaf for value in self.values for leaf in leaves((self.place[1], *self.way), value)}


def read_axes(recipe: Recipe) -> list[Axis]:
    """Return the axes of a recipe's sweep, in the order of the recipe.

    Raises:
        InvalidInput: a path does not exist, applies to the whole campaign, or would change the list of models.
    """
    return [_axis(recipe, path, values) for path, values in recipe.sweep.items()]


def _axis(recipe: Recipe, path: str, values: tuple[Any, ...]) -> Axis:
    key, *rest = path.split(".")
    if key in OF_THE_CAMPAIGN:
        raise refused(path, "is no part of a job, so that all jobs of this sweep would be the same")
    if key == "model" or (key == "models" and len(rest) < 2):
        raise refused(path, _MODELS_STAY)
    if key == "models":
        place = next((index for index in range(len(recipe.models or ())) if str(index) == rest[0]), None)
        if place is None:
            raise refused(path, f"{rest[0]!r} is no index of a list of {len(recipe.models or ())}")
        if rest[1] in ModelEntry.model_fields and rest[1] not in OF_AN_ENTRY:
            raise refused(path, _MODELS_STAY)
        return _found(recipe.entries()[place], path, (place, rest[1]), rest[2:], values)
    return _found(recipe, path, (None, key), rest, values)


def _found(owner: BaseModel, path: str, place: Place, rest: Sequence[str], values: tuple[Any, ...]) -> Axis:
    known = OF_A_JOB if place[0] is None else OF_AN_ENTRY
    if place[1] not in known:
        raise refused(path, unknown_key(place[1], list(known)))
    return Axis(path, place, tuple(_way(type(owner), place[1], rest, written(owner, place[1]))), values)


def written(owner: BaseModel, key: str) -> Any:
    """Return the value that the recipe gives for a key, as JSON data. Return None if the recipe does not set the key."""
    return owner.model_dump(mode="json", include={key}, exclude_unset=True).get(key)


def _way(model: type[BaseModel], key: str, parts: Sequence[str], content: Any) -> Iterator[str]:
    """Yield the keys below `key` that the parts of a path mean.

    Names of inputs may contain dots (`input.1`). So in a mapping by name, the longest name that the recipe contains is taken. If it
    contains none, all remaining parts together are the name.
    """
    here: type[BaseModel] | None = model
    while parts:
        taken = 1
        if here is not None and is_by_name(here, key):
            names = content if isinstance(content, dict) else {}
            taken = next((count for count in range(len(parts), 0, -1) if ".".join(parts[:count]) in names), len(parts))
            here = None
        elif here is not None:
            here = section(here, key)
        key, parts = ".".join(parts[:taken]), parts[taken:]
        content = content.get(key) if isinstance(content, dict) else None
        yield key


def replaced(content: Any, way: Sequence[str], value: Any, path: str) -> Any:
    """Return a copy of nested mappings and lists in which the value at the end of `way` is `value`.

    Args:
        path: the path as the recipe writes it, for the error message.

    Raises:
        InvalidInput: the way does not exist in `content`.
    """
    if not way:
        return value
    head, rest = way[0], way[1:]
    if isinstance(content, list):
        place = next((index for index in range(len(content)) if str(index) == head), None)
        if place is None:
            raise refused(path, f"{head!r} is no index of a list of {len(content)}")
        return [replaced(item, rest, value, path) if index == place else item for index, item in enumerate(content)]
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise refused(path, f"{content!r} has no key {head!r}")
    return {**content, head: replaced(content.get(head), rest, value, path)}


def leaves(way: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    """Yield the ways to all values that setting `value` at `way` would set, at most three keys deep: `options.shapes.x`.

    Options of a recipe and of an entry are merged down to this depth.
    """
    if isinstance(value, dict) and len(way) < 3:
        for key, inner in value.items():
            yield from leaves((*way, key), inner)
    else:
        yield way[:3]


def refused(path: str, why: str) -> InvalidInput:
    return InvalidInput(f"sweep path {path!r}: {why}", fields=[FieldError(f"sweep.{path}", why)])
