"""Records where the elements of a value come from: which model input, which of its columns, and what was added to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Origin:
    """Describes how an input of the model reaches a value.

    Each element of the value is between `scale * x + low` and `scale * x + high` for an element `x` of the input.

    Attributes:
        column: The position along the input's last axis from which it was taken. None for any position.
        whole: Whether the value is the whole input, with its elements in their order.
        compared: A number that the input was compared with on the way.
    """

    input: str
    column: int | None = None
    scale: int = 1
    low: int = 0
    high: int = 0
    whole: bool = True
    compared: int | None = None

    def moved(self, constants: Sequence[int], sign: int) -> Origin:
        """Return the origin after one of the constants was added (sign 1) or subtracted (sign -1)."""
        ends = [sign * min(constants), sign * max(constants)]
        return replace(self, low=self.low + min(ends), high=self.high + max(ends))


@dataclass(frozen=True)
class Trace:
    """Holds the origins of a value's elements. `columns` holds them by position along the last axis, where that is known."""

    origins: frozenset[Origin]
    columns: tuple[frozenset[Origin], ...] | None = None

    def reshaped(self) -> Trace:
        """Return the trace of the same elements in another shape."""
        return Trace(self.origins)

    def mixed(self) -> Trace:
        """Return the trace of a value that has only some of the elements, or has them together with others."""
        return Trace(frozenset(replace(origin, whole=False) for origin in self.origins))

    def moved(self, constants: Sequence[int], sign: int) -> Trace:
        if self.columns is not None and len(constants) == len(self.columns) > 1:
            columns = tuple(
                frozenset(origin.moved([number], sign) for origin in column) for column, number in zip(self.columns, constants, strict=True)
            )
            return Trace(frozenset().union(*columns), columns)
        return self._each(lambda origin: origin.moved(constants, sign))

    def scaled(self, factor: int) -> Trace:
        return self._each(lambda origin: replace(origin, scale=origin.scale * factor, low=origin.low * factor, high=origin.high * factor))

    def compared_with(self, number: int | None) -> Trace:
        return self._each(lambda origin: replace(origin, compared=number if origin.compared is None else origin.compared)).reshaped()

    def picked(self, positions: Sequence[int]) -> Trace:
        """Return the trace of a value that has only some positions of the last axis."""
        if self.columns is None or not all(-len(self.columns) <= position < len(self.columns) for position in positions):
            return self.mixed()
        return by_column([self.columns[position] for position in positions])

    def _each(self, change: Callable[[Origin], Origin]) -> Trace:
        columns = None if self.columns is None else tuple(frozenset(change(origin) for origin in column) for column in self.columns)
        return Trace(frozenset(change(origin) for origin in self.origins), columns)


def by_column(columns: Iterable[frozenset[Origin]]) -> Trace:
    kept = tuple(columns)
    return Trace(frozenset(replace(origin, whole=False) for column in kept for origin in column), kept)


def joined(traces: Iterable[Trace]) -> Trace | None:
    found = list(traces)
    return Trace(frozenset().union(*(trace.mixed().origins for trace in found))) if found else None


def of_input(name: str, shape: Sequence[int]) -> Trace:
    if len(shape) >= 2 and 1 <= shape[-1] <= 4096:
        return Trace(frozenset({Origin(name)}), tuple(frozenset({Origin(name, column, whole=False)}) for column in range(shape[-1])))
    return Trace(frozenset({Origin(name)}))
