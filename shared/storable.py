"""What can be stored, sent and shown again as JSON, and what has to be replaced before: one place for everybody.

JSON has no NaN and no infinity, many readers take an integer beyond the largest float for infinite, UTF-8 has no bytes for half of a
surrogate pair (a byte of a file's name that is no text), and PostgreSQL keeps no NUL in text.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

LARGEST = int(sys.float_info.max)  # an integer beyond it is infinite for whoever reads numbers as JavaScript does
NUL = "\0"


def storable(content: Any) -> Any:
    """Return JSON of any shape with null in the place of numbers that cannot be stored, and with storable texts."""
    return _mapped(content, storable_text, lambda number: number if _is_storable_number(number) else None)


def without_nul(content: Any) -> Any:
    """Return JSON of any shape with `\ufffd` for each NUL in its texts; all else stays as it is, for others to judge."""
    return _mapped(content, lambda text: text.replace(NUL, "\ufffd"), lambda number: number)


def storable_text(text: str) -> str:
    """Return a text with `?` for half of a surrogate pair and `\ufffd` for NUL."""
    return text.encode(errors="replace").decode().replace(NUL, "\ufffd")


def unstorable_at(content: Any) -> list[str] | None:
    """Return the way to the first value that cannot be stored, member by member; None where everything can be.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if isinstance(content, str):
        return None if storable_text(content) == content else []
    if isinstance(content, bool) or content is None:
        return None
    if isinstance(content, int | float):
        return None if _is_storable_number(content) else []
    members = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list | tuple) else ()
    for name, value in members:
        way = [] if isinstance(name, str) and storable_text(name) != name else unstorable_at(value)
        if way is not None:
            return [str(name), *way]
    return None


def _is_storable_number(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else abs(number) <= LARGEST


def _mapped(content: Any, text: Callable[[str], str], number: Callable[[float], float | None]) -> Any:
    if isinstance(content, str):
        return text(content)
    if isinstance(content, bool):
        return content
    if isinstance(content, int | float):
        return number(content)
    if isinstance(content, dict):
        return {_mapped(name, text, number): _mapped(value, text, number) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_mapped(value, text, number) for value in content]
    return content
