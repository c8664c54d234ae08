"""Parses sums and products of symbols that stand for a dimension, such as `past_sequence_length + sequence_length`.

The text comes from a model file, so it is parsed by hand and never evaluated as code. The parser understands whole numbers, names,
`+ - * /` (division rounds down and may be written `//`) and parentheses. Any other text is a plain symbol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import add, floordiv, mul, sub

MAX_LENGTH = 500  # the most characters; this also limits how deep parentheses can nest
_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]{1,18})(?![\w.])|(?P<name>[A-Za-z_][\w.]*)|(?P<mark>//|[-+*/()]))", re.ASCII)
_SYMBOL = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
_OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul, "/": floordiv, "//": floordiv}


@dataclass(frozen=True)
class Expression:
    """Holds one dimension as a calculation. `steps` is in postfix order: numbers, names, and operators."""

    text: str
    steps: tuple[int | str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step for step in self.steps if isinstance(step, str) and step not in _OPERATIONS))

    def value(self, sizes: Mapping[str, int]) -> int:
        """Return the size, given the size of each name.

        Raises:
            ZeroDivisionError: A divisor is zero.
        """
        stack: list[int] = []
        for step in self.steps:
            if isinstance(step, int):
                stack.append(step)
            elif step in _OPERATIONS:
                right, left = stack.pop(), stack.pop()
                stack.append(_OPERATIONS[step](left, right))
            else:
                stack.append(sizes[step])
        return stack[0]


def parse(text: str) -> Expression | None:
    """Return the calculation that the text of a dimension describes. None if it is a plain symbol."""
    if len(text) > MAX_LENGTH or _SYMBOL.fullmatch(text.strip()):
        return None
    tokens = list(_tokens(text))
    if None in tokens:
        return None
    try:
        parser = _Parser([token for token in tokens if token is not None])
        parser.sum()
    except (IndexError, ValueError):
        return None
    return Expression(text, tuple(parser.steps)) if parser.at_end() else None


def _tokens(text: str) -> Iterator[str | None]:
    place, text = 0, text.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            yield None
            return
        yield found.group().strip()
        place = found.end()


class _Parser:
    """Parses the tokens by recursive descent: a sum of products of numbers, names and parentheses."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._place = tokens, 0
        self.steps: list[int | str] = []

    def at_end(self) -> bool:
        return self._place == len(self._tokens)

    def sum(self) -> None:
        self._chain(self._product, ("+", "-"))

    def _product(self) -> None:
        self._chain(self._atom, ("*", "/", "//"))

    def _chain(self, part: Callable[[], None], marks: tuple[str, ...]) -> None:
        part()
        while not self.at_end() and self._tokens[self._place] in marks:
            mark = self._next()
            part()
            self.steps.append(mark)

    def _atom(self) -> None:
        part = self._next()
        if part == "(":
            self.sum()
            if self._next() != ")":
                raise ValueError(part)
        elif part in _OPERATIONS or part == ")":
            raise ValueError(part)
        else:
            self.steps.append(int(part) if part.isdecimal() else part)

    def _next(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]
