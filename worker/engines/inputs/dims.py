"""Decides the size of every dimension: from the model, from the recipe, calculated from other dimensions, or else 1.

One symbol has one size in all inputs. The recipe can size symbols (`options.dims`), whole inputs (`options.shapes`) and the batch
(`options.batch_size`). If two of them disagree, they are refused. A dimension that nothing sizes is 1 and is reported as assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.errors import ModelInvalid, nearest
from worker.engines.base import InputSpec, Options
from worker.engines.inputs import batch
from worker.engines.inputs.assumed import warnings
from worker.engines.inputs.sums import MAX_ELEMENTS, find_sums, work_out


@dataclass(frozen=True)
class Dims:
    """Holds the sizes that the inputs are bound with.

    `sizes` holds the symbols of the model, and `batch_symbol` is the symbol of the batch. `assumed` holds each symbol that nothing sizes,
    and `input[axis]` for such a dimension without a name. Where several inputs have a batch without a name, `batch_size` stands for all.
    """

    shapes: dict[str, tuple[int, ...]]
    sizes: dict[str, int]
    assumed: dict[str, int]
    batch_symbol: str | None
    batch_size: int | None
    warnings: list[str] = field(default_factory=list)


def resolve(specs: Sequence[InputSpec], options: Options) -> Dims:
    """Return the shape of every input and the size of every symbol.

    Raises:
        ModelInvalid: The options name what the model does not have, contradict it or each other, or leave a rank unknown.
    """
    return _Resolution(specs, options).result()


class _Resolution:
    def __init__(self, specs: Sequence[InputSpec], options: Options) -> None:
        self._specs, self._options = specs, options
        self._shapes = options.shapes or {}
        self._sums = find_sums(specs)
        self._symbols = list(
            dict.fromkeys(
                name
                for spec in specs
                for part in spec.shape or ()
                if isinstance(part, str) and part
                for name in (self._sums[part].names if part in self._sums else (part,))
            )
        )
        self._sizes: dict[str, int] = {}
        self._said_by: dict[str, str] = {}
        self._assumed: dict[str, int] = {}
        self._unnamed_batch: int | None = None
        self._batch = batch.find_batch(specs, self._symbols)

    def result(self) -> Dims:
        self._ask_for_ranks()
        self._take_dims()
        self._take_shapes()
        self._take_batch_size()
        self._assume_the_rest()
        shapes = {spec.name: self._shape(spec) for spec in self._specs}
        self._name_the_assumed_batch()
        return Dims(
            shapes, self._sizes, self._assumed, self._batch, self._bound_batch(shapes), warnings(self._specs, self._assumed, self._batch)
        )

    def _ask_for_ranks(self) -> None:
        """Refuse inputs of unknown rank that have no shape yet, all of them in one sentence."""
        unknown = [spec.name for spec in self._specs if spec.shape is None and spec.name not in self._shapes]
        if unknown:
            which = f"input {unknown[0]!r} does not say its shape" if len(unknown) == 1 else "these inputs do not say their shapes"
            wanted = ", ".join(f"{batch.yaml_key(name)}: […]" for name in unknown)
            raise ModelInvalid(f"{which}: give options.shapes: {{{wanted}}}")

    def _take_dims(self) -> None:
        for symbol, size in (self._options.dims or {}).items():
            if symbol in self._sums:
                names = " and ".join(self._sums[symbol].names)
                raise ModelInvalid(f"options.dims gives {symbol!r}, which is worked out: give {names} instead")
            if symbol not in self._symbols:
                known = (
                    nearest(symbol, self._symbols) if self._symbols else "the model has none; its unnamed dimensions need options.shapes"
                )
                raise ModelInvalid(f"options.dims names {symbol!r}, which is no free dimension of the model: {known}")
            self._give(symbol, size, f"options.dims.{symbol}")

    def _take_shapes(self) -> None:
        specs = {spec.name: spec for spec in self._specs}
        for name, wanted in self._shapes.items():
            if name not in specs:
                raise ModelInvalid(f"options.shapes names {name!r}, which is no input of the model: {nearest(name, list(specs))}")
            _check_shape(specs[name], wanted)
            for part, size in zip(specs[name].shape or (), wanted, strict=False):
                if isinstance(part, str) and part in self._symbols and part not in self._sums:
                    self._give(part, size, f"options.shapes.{name}")

    def _take_batch_size(self) -> None:
        size = self._options.batch_size
        if size is None:
            return
        if self._batch is None:
            batch.check_batch_size([self._with_given_rank(spec, size) for spec in self._specs], self._symbols, size)
        elif self._batch == batch.UNNAMED:
            self._unnamed_batch = size
        else:
            self._give(self._batch, size, "options.batch_size")

    def _with_given_rank(self, spec: InputSpec, batch_size: int) -> InputSpec:
        """Return an input whose rank the model leaves open with the recipe's shape, which has to begin with the batch size."""
        if spec.shape is not None:
            return spec
        shape = tuple(self._shapes[spec.name])
        if shape and shape[0] != batch_size:
            raise ModelInvalid(
                f"options.batch_size is {batch_size}, but options.shapes.{spec.name} begins with {shape[0]}: "
                f"leave batch_size out, or begin the shape with {batch_size}"
            )
        return replace(spec, shape=shape)

    def _assume_the_rest(self) -> None:
        free = [symbol for symbol in self._symbols if symbol not in self._sizes]
        for symbol in sorted(free, key=_is_total):  # a total comes last, because it needs the sizes of its parts
            parts = [self._sizes.get(name) for name in _parts_of_total(symbol, self._symbols)]
            if parts and _is_total(symbol):
                self._sizes[symbol] = sum(part for part in parts if part is not None)
            else:
                self._sizes[symbol] = self._assumed[symbol] = 1

    def _give(self, symbol: str, size: int, source: str) -> None:
        known = self._sizes.get(symbol, size)
        if known != size:
            raise ModelInvalid(
                f"{source} makes the dimension {symbol!r} {size}, but {self._said_by[symbol]} makes it {known}: "
                "one symbol has one size in all inputs"
            )
        self._sizes[symbol], self._said_by[symbol] = size, self._said_by.get(symbol, source)

    def _name_the_assumed_batch(self) -> None:
        """Report the leading dimensions without a name as one `batch_size`, if all of several inputs have it and none was sized."""
        led = [f"{spec.name}[0]" for spec in self._specs if spec.shape and batch.is_unnamed(spec.shape[0])]
        if self._batch == batch.UNNAMED and len(led) > 1 and all(name in self._assumed for name in led):
            others = {name: size for name, size in self._assumed.items() if name not in led}
            self._assumed = {"batch_size": 1, **others}

    def _shape(self, spec: InputSpec) -> tuple[int, ...]:
        wanted = self._shapes.get(spec.name)
        if spec.shape is None:
            shape = tuple(wanted or ())  # inputs of unknown rank without a shape were refused before
        else:
            shape = tuple(self._size(spec, axis, part, wanted) for axis, part in enumerate(spec.shape))
        if math.prod(shape) > MAX_ELEMENTS:
            raise ModelInvalid(f"input {spec.name!r} of shape {list(shape)} has more than {MAX_ELEMENTS} elements; give a smaller shape")
        return shape

    def _size(self, spec: InputSpec, axis: int, part: int | str | None, wanted: Sequence[int] | None) -> int:
        if isinstance(part, int) and part >= 0:
            return part
        if isinstance(part, str) and part in self._sums:
            size = work_out(spec, self._sums[part], self._sizes)
            if wanted is not None and wanted[axis] != size:
                parts = ", ".join(f"{name} is {self._sizes[name]}" for name in self._sums[part].names)
                raise ModelInvalid(
                    f"options.shapes.{spec.name} makes {part!r} {wanted[axis]}, but it is {size}, since {parts}: "
                    f"give options.dims: {{{', '.join(f'{name}: …' for name in self._sums[part].names)}}}"
                )
            return size
        if isinstance(part, str) and part:
            return self._sizes[part]
        if wanted is not None:
            size = wanted[axis]
            if axis == 0 and self._unnamed_batch not in (None, size):
                raise ModelInvalid(
                    f"options.batch_size is {self._unnamed_batch}, but options.shapes.{spec.name} begins with {size}: leave one of them out"
                )
            return size
        if axis == 0 and self._unnamed_batch is not None:
            return self._unnamed_batch
        self._assumed[f"{spec.name}[{axis}]"] = 1
        return 1

    def _bound_batch(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        if self._batch is None:
            return self._options.batch_size or batch.fixed_batch(self._specs)
        if self._batch != batch.UNNAMED:
            return self._sizes[self._batch]
        led = {shapes[spec.name][0] for spec in self._specs if spec.shape and batch.is_unnamed(spec.shape[0])}
        return led.pop() if len(led) == 1 else None


def _is_total(symbol: str) -> bool:
    found = batch.words(symbol)
    return "total" in found and batch.is_sequence(symbol)


def _parts_of_total(symbol: str, symbols: Sequence[str]) -> list[str]:
    """Return the two parts of a `total_sequence_length`, the past and the present sequence, if the model has exactly one of each."""
    past = [name for name in symbols if "past" in batch.words(name) and batch.is_sequence(name)]
    now = [name for name in symbols if name in ("sequence_length", "seq_length", "seq_len", "sequence", "seq")]
    return [past[0], now[0]] if len(past) == 1 and len(now) == 1 and symbol not in (past[0], now[0]) else []


def _check_shape(spec: InputSpec, wanted: Sequence[int]) -> None:
    if any(size < 0 for size in wanted):
        raise ModelInvalid(f"options.shapes.{spec.name} is {list(wanted)}; a size is 0 or more")
    if spec.shape is None:
        return
    fits = len(spec.shape) == len(wanted) and all(
        not isinstance(have, int) or have < 0 or have == want for have, want in zip(spec.shape, wanted, strict=True)
    )
    if not fits:
        raise ModelInvalid(
            f"options.shapes.{spec.name} is {list(wanted)}, but the model's input {spec.name!r} is {spec.element_type} "
            f"{batch.shown_shape(spec)}"
        )
