"""Reads JSON texts that people write. An object with the same key twice is refused: a JSON reader would silently drop one of the two."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json

# Longer texts are not searched, because only programs write them, and programs take their keys from mappings, which have each key once.
MOST_SEARCHED_BYTES = 256 * 1024


def read_json_text(raw: bytes | str) -> Any:
    """Return the content of a JSON text.

    Raises:
        RepeatedKey: an object has the same key twice.
        ValueError: the text is not JSON.
    """
    content = from_json(raw)
    refuse_repeated_keys(raw)
    return content


def refuse_repeated_keys(raw: bytes | str) -> None:
    """Refuse a JSON text in which an object has the same key twice. The text must be known to be JSON, and not nested deeply.

    Raises:
        RepeatedKey: there is such an object.
    """
    if len(raw) <= MOST_SEARCHED_BYTES:
        json.loads(raw, object_pairs_hook=_once)


class RepeatedKey(Exception):
    """Says which key an object has twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f"an object has the key {key!r:.80} twice; keep one of the two")


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise RepeatedKey(key)
        seen.add(key)
