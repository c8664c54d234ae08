"""Keyset pages: a cursor says behind which item the next page begins, so page 1 000 costs what page 1 does."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Annotated, Any

from fastapi import Query

from shared.errors import FieldError, InvalidInput

_WORD = re.compile(r"[0-9a-z-]{1,80}")

Limit = Annotated[int, Query(ge=1, le=1000, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]


def encode_cursor(*key: str | int) -> str:
    """The key of the last item shown, as one opaque word."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *shape: type) -> tuple[Any, ...] | None:
    """The key in a cursor; None without one.

    Raises:
        InvalidInput: it is none that this API has given for this list.
    """
    if cursor is None:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _unknown(cursor) from error
    if not isinstance(key, list) or [type(part) for part in key] != list(shape) or not all(map(_plausible, key)):
        raise _unknown(cursor)
    return tuple(key)


def _plausible(part: Any) -> bool:
    """An id or a number that a column can hold."""
    return _WORD.fullmatch(part) is not None if isinstance(part, str) else 0 <= part < 2**31


def _unknown(cursor: str) -> InvalidInput:
    message = f"{cursor!r} is no cursor of this list; take `next_cursor` of the page before, or leave it out for the first"
    return InvalidInput(f"cursor: {message}", fields=[FieldError("query.cursor", message)])
