"""Holds `Use`, what a node requires of one of its inputs, and `Call`, a node with what is known of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.engines.onnx_graph.model import Node
from worker.engines.onnx_graph.shapes import MaybeInts, MaybeShape, axis_size

Rule = bool | int | float | tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """Describes what a node requires of its input number `place`.

    Attributes:
        rows: The value indexes a table with this many rows.
        most: The largest value that the node accepts.
        because: The reason, as the end of a sentence.
        steers: What the value decides. Empty for ordinary data.
        rule: The value to use when the recipe states none.
        partial_rule: The same, if the value is only a part of the node's input.
        by_comparison: Use the number that the value was compared with, if there was one, in place of `rule`.
        is_length: Whether the value holds lengths of a sequence.
        words: The texts or numbers that the node knows.
        columns: The number of rows for each position along the value's last axis.
    """

    place: int
    rows: int | None = None
    most: int | None = None
    because: str = ""
    steers: str = ""
    rule: Rule | None = None
    partial_rule: Rule | None = None
    by_comparison: bool = False
    is_length: bool = False
    words: tuple[str | int, ...] = ()
    columns: tuple[int | None, ...] = ()


class Call:
    """Combines a node with what is known of its inputs."""

    def __init__(self, node: Node, shapes: list[MaybeShape], ints: list[MaybeInts]) -> None:
        self.node, self._shapes, self._ints = node, shapes, ints

    def shape(self, place: int) -> MaybeShape:
        return self._shapes[place] if place < len(self._shapes) else None

    def size(self, place: int, axis: int) -> int | None:
        return axis_size(self.shape(place), axis)

    def ints(self, place: int) -> MaybeInts:
        return self._ints[place] if place < len(self._ints) else None


UseRule = Callable[[Call], Iterator[Use]]


def table(place: int, rows: int | None) -> Use:
    """Return the use of an index into a table of so many rows."""
    return Use(place, rows=rows)


def length(place: int, steps: int | None) -> Use:
    """Return the use of a length within a sequence of so many steps."""
    because = "it is the length of a sequence" + (f" of {steps} steps" if steps is not None else "")
    return Use(place, most=steps, because=because, rule=steps, is_length=True)
