"""Replaces values that cannot be stored and sent as JSON. All parts of Fleetmark use this module for that.

JSON has no NaN and no infinity. Many JSON readers take an integer above the largest float as infinite. UTF-8 cannot encode a lone surrogate
(Python uses them for bytes of file names that are not valid text). PostgreSQL cannot store NUL in a text.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

LARGEST = int(sys.float_info.max)  # programs that read all numbers as floats, such as JavaScript, read larger integers as infinite
NUL = "\0"


def storable(content: Any) -> Any:
    """Return JSON data with null for each number that cannot be stored, and with storable texts."""
    return _mapped(content, storable_text, lambda number: number if _is_storable_number(number) else None)


def without_nul(content: Any) -> Any:
    """Return JSON data with `\ufffd` for each NUL in its texts. Other values that cannot be stored are kept for the caller to handle."""
    return _mapped(content, lambda text: text.replace(NUL, "\ufffd"), lambda number: number)


def storable_text(text: str) -> str:
    """Return a text with `?` for each lone surrogate and `\ufffd` for each NUL."""
    return text.encode(errors="replace").decode().replace(NUL, "\ufffd")


def unstorable_at(content: Any) -> list[str] | None:
    """Return the path (keys and indices) of the first value that cannot be stored, or None if everything can be stored.

    Raises:
        RecursionError: the content is nested too deeply.
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
