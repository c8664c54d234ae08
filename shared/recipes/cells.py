"""Expands a recipe into its cells. A cell is one model with one combination of the swept values.

For each swept value, only the key that contains it is validated again, and only once. So the cost of a cell does not depend on the
number of models.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError, create_model
from pydantic_core import to_json

from shared.engine_options import EngineOptions
from shared.errors import FieldError, InvalidInput
from shared.jobs import MAX_JOBS
from shared.kinds.base import Spec
from shared.kinds.generation import DecodingSection, PromptsSection
from shared.kinds.generation_task import TaskSection
from shared.kinds.hardware import HardwareSection
from shared.kinds.load import Slo
from shared.kinds.registry import KINDS
from shared.mistakes import not_valid
from shared.recipes.axes import Axis, Place, read_axes, replaced, written
from shared.recipes.lost_values import refuse_lost_values
from shared.recipes.parse import field_error
from shared.recipes.schema import ModelEntry, Recipe, Requirements, Retries
from shared.recipes.services import BenchmarksSection, ClientSection, LoadSection, ServiceSection
from shared.repetition import StopRule, Warmup
from shared.strict import Strict
from shared.targets import Target

Table = Mapping[tuple[int, ...], Any]  # from the indices of the chosen values, one per axis of a key, to the key's validated value


class Cell(NamedTuple):
    """Holds the settings that are common to all jobs of one model and one combination of swept values.

    `kind` is the kind of work. `entry` is the index of the model in the recipe, or None if the kind of work needs no model.
    """

    kind: str
    entry: int | None
    on: tuple[str, ...]
    devices: Literal["one", "any", "every"] | tuple[str, ...]
    inferences: int
    repeats: int
    loads: int
    warmup: Warmup
    stop: StopRule | None
    priority: int
    requires: Requirements
    options: EngineOptions
    timeout_s: float
    retries: Retries
    hardware: HardwareSection | None = None
    prompts: PromptsSection | None = None
    decoding: DecodingSection | None = None
    task: TaskSection | None = None
    dataset: str | None = None
    prompt: str | None = None
    max_tokens: int | None = None
    evaluate: tuple[str, ...] | None = None
    service: ServiceSection | None = None
    client: ClientSection | None = None
    load: LoadSection | None = None
    benchmarks: BenchmarksSection | None = None
    slo: Slo | None = None

    def spec(self) -> Spec:
        """Return what each job of this cell measures."""
        return KINDS[self.kind].spec_of(self)

    def target(self) -> Target | None:
        """Return the service that each job of this cell puts under load, for a kind of work that does so."""
        return KINDS[self.kind].target_of(self)


_INFERENCES, _OPTIONS, _DEVICES = (Cell._fields.index(key) for key in ("inferences", "options", "devices"))


def cells_of(recipe: Recipe) -> Iterator[Cell]:
    """Yield the cells of a recipe, ordered by model and then by the product of its sweep.

    Raises:
        InvalidInput: a swept path or value is not valid, two cells of a model would measure the same, or there are more than `MAX_JOBS`.
    """
    entries, axes = recipe.entries(), read_axes(recipe)
    listed: list[tuple[int | None, ModelEntry | None]] = list(enumerate(entries)) or [(None, None)]
    count = sum(math.prod(len(axis.values) for axis in _axes_of(axes, index)) for index, _ in listed)
    if count > MAX_JOBS:
        raise too_many()
    refuse_lost_values(recipe, entries, axes)
    tables = _tables(recipe, entries, axes)
    for index, entry in listed:
        yield from _of_entry(recipe, index, entry, _axes_of(axes, index), tables, default_devices(count))


def default_devices(cells: int) -> Literal["one", "any"]:
    """Return what `devices` means in a recipe of this many cells that leaves it out.

    Cells are compared with each other. On different devices, a difference between two cells could come from the devices.
    """
    return "one" if cells > 1 else "any"


def too_many() -> InvalidInput:
    return InvalidInput(f"the recipe means more than {MAX_JOBS} jobs; split it into several campaigns")


def _axes_of(axes: Sequence[Axis], entry: int | None) -> list[Axis]:
    return [axis for axis in axes if axis.place[0] in (None, entry)]


def _by_place(axes: Sequence[Axis]) -> dict[Place, list[int]]:
    """Return, for each key, the indices of the axes whose paths begin with it."""
    found: dict[Place, list[int]] = {}
    for number, axis in enumerate(axes):
        found.setdefault(axis.place, []).append(number)
    return found


# Values


def _tables(recipe: Recipe, entries: Sequence[ModelEntry], axes: Sequence[Axis]) -> dict[Place, Table]:
    """Return, for each swept key, a table of all its validated values."""
    tables: dict[Place, Table] = {}
    for place, numbers in _by_place(axes).items():
        mine = [axes[number] for number in numbers]
        start = written(recipe if place[0] is None else entries[place[0]], place[1])
        tables[place] = {chosen: _value(mine, chosen, start) for chosen in _choices(mine)}
    return tables


def _choices(axes: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(len(axis.values)) for axis in axes))


def _value(axes: Sequence[Axis], chosen: tuple[int, ...], content: Any) -> Any:
    for axis, number in zip(axes, chosen, strict=True):
        content = replaced(content, axis.way, axis.values[number], axis.path)
    entry, key = axes[0].place
    try:
        return getattr(_alone(axes[0].owner, key).model_validate_json(to_json({key: content}, inf_nan_mode="constants")), key)
    except ValidationError as error:
        before = () if entry is None else ("models", entry)
        items = [{**item, "loc": (*before, *item["loc"])} for item in error.errors(include_url=False)]
        source = f"the recipe with {_said(axes, chosen)}"
        raise not_valid(source, items, lambda item: field_error(item, None)) from error  # type: ignore[arg-type]  # still the same keys


@cache
def _alone(owner: type[BaseModel], key: str) -> type[Strict]:
    """Return a pydantic model that has only one key of another model, with the same validation."""
    field = owner.model_fields[key]
    fields: dict[str, Any] = {key: (field.annotation, field)}
    made: type[Strict] = create_model(f"{owner.__name__}.{key}", __base__=Strict, **fields)
    return made


def _said(axes: Sequence[Axis], chosen: Sequence[int]) -> str:
    return ", ".join(f"{axis.path}={axis.values[number]!r:.80}" for axis, number in zip(axes, chosen, strict=True))


# Cells


def _of_entry(
    recipe: Recipe,
    index: int | None,
    entry: ModelEntry | None,
    axes: Sequence[Axis],
    tables: Mapping[Place, Table],
    devices: Literal["one", "any"],
) -> Iterator[Cell]:
    base = Cell(recipe.kind, index, *(getattr(recipe, key) for key in Cell._fields[2:]))
    places = [(place, Cell._fields.index(place[1]), numbers, tables[place]) for place, numbers in _by_place(axes).items()]
    differing = sorted({_INFERENCES, _OPTIONS, *(field for _, field, _, _ in places)})  # the fields in which this entry's cells may differ
    merge, text = _Merging(index), _Texts()
    seen: dict[Hashable, tuple[int, ...]] = {}
    for chosen in _choices(axes):
        fields: list[Any] = list(base)
        inferences, options = (entry.inferences, entry.options) if entry is not None else (None, None)
        for (owner, key), field, numbers, table in places:
            value = table[chosen if len(numbers) == len(chosen) else tuple([chosen[number] for number in numbers])]
            if owner is None:
                fields[field] = value
            elif key == "options":
                options = value
            else:
                inferences = value
        fields[_INFERENCES] = inferences or fields[_INFERENCES]
        fields[_DEVICES] = fields[_DEVICES] or devices
        fields[_OPTIONS] = merge(fields[_OPTIONS], options)
        cell = Cell._make(fields)
        if axes:
            _check_samples(cell, axes, chosen)
            if (same := seen.setdefault(tuple([text(fields[field]) for field in differing]), chosen)) != chosen:
                raise _equal(entry, _said(axes, same), _said(axes, chosen))
        yield cell


def _check_samples(cell: Cell, axes: Sequence[Axis], chosen: tuple[int, ...]) -> None:
    try:
        cell.spec().check(cell.stop.max_repeats if cell.stop else cell.repeats)
    except ValueError as error:
        detail = f"the recipe with {_said(axes, chosen)} is not valid: {error}"
        raise InvalidInput(detail, fields=[FieldError("sweep", str(error))]) from error


def _equal(entry: ModelEntry | None, one: str, other: str) -> InvalidInput:
    which = "the same value is listed twice" if one == other else f"it means the same as {one}"
    model = f"{entry.name or entry.model:.300}" if entry is not None else "the same"
    why = f"{other} would measure {model} a second time in the same way: {which}; each job of a sweep has to differ"
    return InvalidInput(f"sweep: {why}", fields=[FieldError("sweep", why)])


class _Merging:
    """Merges the options of an entry over those of the recipe. Each pair of options is merged only once."""

    def __init__(self, entry: int | None) -> None:
        self._entry = entry
        # Keyed by `id` of both options. The values keep these objects alive, so that their ids stay unique.
        self._done: dict[tuple[int, int], tuple[EngineOptions, EngineOptions | None, EngineOptions]] = {}

    def __call__(self, base: EngineOptions, own: EngineOptions | None) -> EngineOptions:
        pair = (id(base), id(own))
        if pair not in self._done:
            self._done[pair] = (base, own, self._merged(base, own))
        return self._done[pair][2]

    def _merged(self, base: EngineOptions, own: EngineOptions | None) -> EngineOptions:
        try:
            return merged(base, own)
        except ValidationError as error:
            source = f"the recipe's `options` with those of models.{self._entry}"
            raise not_valid(source, error.errors(include_url=False), lambda item: field_error(item, None)) from error


def merged(base: EngineOptions, own: EngineOptions | None) -> EngineOptions:
    """Return the recipe's options, overridden key by key by the options of an entry.

    Mappings by name, such as `shapes`, are merged name by name.

    Raises:
        ValidationError: the merged options are not valid, although both parts are.
    """
    if own is None or not own.model_fields_set:
        return base
    content = {key: getattr(base, key) for key in base.model_fields_set}
    for key in own.model_fields_set:
        under, value = content.get(key), getattr(own, key)
        content[key] = {**under, **value} if isinstance(under, dict) and isinstance(value, dict) else value
    return EngineOptions(**content)


class _Texts:
    """Returns a text for each value. Two values are equal if their texts are equal. The text of a model is computed only once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}  # keyed by `id`; holds the object too, so that its id stays unique

    def __call__(self, value: Any) -> Hashable:
        if not isinstance(value, BaseModel):
            return value  # type: ignore[no-any-return]  # a number, or a tuple of texts
        if id(value) not in self._known:
            self._known[id(value)] = (value, value.model_dump_json())
        return self._known[id(value)][1]
