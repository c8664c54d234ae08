"""The swept paths of a recipe, each found in the schema, and what they may not lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.errors import FieldError, InvalidInput
from shared.mistakes import unknown_key
from shared.recipes.keys import is_by_name, section
from shared.recipes.schema import ModelEntry, Recipe

OF_A_JOB = ("on", "devices", "inferences", "repeats", "loads", "warmup", "stop", "priority", "requires", "options", "timeout_s", "retries")
OF_THE_CAMPAIGN = frozenset({"name", "notes", "labels", "queue_timeout_s", "sweep"})  # keys of a recipe that no job has of its own
OF_AN_ENTRY = ("inferences", "options")  # what differs for one model alone
_MODELS_STAY = "a sweep cannot change which models there are; list them all under `models`"

Place = tuple[int | None, str]  # an index of `models`, or None for the recipe itself; and a key there


@dataclass(frozen=True)
class Axis:
    """One swept path.

    Attributes:
        path: as it is written in the recipe.
        place: the key that the path leads into.
        way: the keys below that one, to the value that is swept. A name with dots in it is one of them.
    """

    path: str
    place: Place
    way: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def owner(self) -> type[BaseModel]:
        return Recipe if self.place[0] is None else ModelEntry

    def leaves(self) -> set[tuple[str, ...]]:
        """The ways to everything that the axis sets; see `leaves`."""
        return {leaf for value in self.values for leaf in leaves((self.place[1], *self.way), value)}


def read_axes(recipe: Recipe) -> list[Axis]:
    """Returns the axes of a recipe's sweep, in the order in which they are written.

    Raises:
        InvalidInput: a path leads nowhere, to something that jobs do not have of their own, or to a model itself.
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
    """Returns what is written at a key, as JSON would hold it; None where nothing is."""
    return owner.model_dump(mode="json", include={key}, exclude_unset=True).get(key)


def _way(model: type[BaseModel], key: str, parts: Sequence[str], content: Any) -> Iterator[str]:
    """The keys below a key that the parts of a path mean.

    Names of inputs have dots in them (`input.1`). So in a mapping by name the longest name that is written there is taken,
    and where none is, everything that remains is the name.
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
    """Returns a copy of nested mappings and lists in which the place at the end of `way` holds `value`.

    Raises:
        InvalidInput: there is no such place; `path` is how the recipe writes it.
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
    """Returns the ways to what a value sets, as deep as `options` of a recipe and of an entry are put together: `options.shapes.x`."""
    if isinstance(value, dict) and len(way) < 3:
        for key, inner in value.items():
            yield from leaves((*way, key), inner)
    else:
        yield way[:3]


def refused(path: str, why: str) -> InvalidInput:
    return InvalidInput(f"sweep path {path!r}: {why}", fields=[FieldError(f"sweep.{path}", why)])
