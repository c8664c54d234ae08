"""Turns pydantic's validation errors into one error for the sender of the input.

Each mistake is listed once, their number is limited, and logins in addresses are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from shared.errors import FieldError, InvalidInput, nearest
from shared.masking import without_logins

MAX_FIELDS = 100  # the most mistakes that are listed; a generated body may have one in each of 100 000 jobs
MAX_SHOWN = 200  # the most characters of a key that a message quotes


def not_valid(what: str, items: Sequence[ErrorDetails], field_of: Callable[[ErrorDetails], FieldError]) -> InvalidInput:
    """Return an error whose message names the first mistake and whose `fields` list up to `MAX_FIELDS` of them.

    Args:
        what: the name of the input, which begins the message.
        field_of: converts one of pydantic's errors.
    """
    # pydantic also reports a list as too short if all of its items are wrong. The errors of the items are enough.
    spoken_for = {item["loc"][:length] for item in items for length in range(len(item["loc"]))}
    told = [item for item in items if item["type"] != "too_short" or item["loc"] not in spoken_for]
    fields = [field_of(item) for item in told[:MAX_FIELDS]]
    first = f"{fields[0].path}: {fields[0].message}" if fields[0].path else fields[0].message
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return InvalidInput(f"{what} is not valid: {first}{more}", fields=fields)


def path_of(location: Sequence[Any]) -> str:
    return ".".join(f"{part!s:.{MAX_SHOWN}}" for part in location)


def unknown_key(key: Any, known: list[str]) -> str:
    return f"unknown key {str(key)[:MAX_SHOWN]!r}: {nearest(str(key), known)}"


def with_value(message: str, value: Any) -> str:
    return f"{message}, not {without_logins(repr(value)):.80}"  # masked before it is cut: a login cut in half would not be recognised
