"""Reads from the schema what a key of a recipe holds: a section with its own keys, a mapping by name, or a plain value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel


@cache
def section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the pydantic model of a key's value, or of the items of its list. Return None if it holds plain values."""
    return next((found for found in _types(model, key) if isinstance(found, type) and issubclass(found, BaseModel)), None)


@cache
def is_by_name(model: type[BaseModel], key: str) -> bool:
    """Return whether a key holds a mapping whose keys users choose, such as `shapes` and `labels`."""
    return any(get_origin(found) is dict for found in _types(model, key))


def _types(model: type[BaseModel], key: str) -> Iterator[Any]:
    field = model.model_fields.get(key)
    waiting = [field.annotation] if field is not None else []
    while waiting:
        found = waiting.pop()
        yield found
        if get_origin(found) is not dict:
            waiting.extend(get_args(found))
