"""What a key of a recipe holds, as the schema says: a section with keys of its own, a mapping by name, or a plain value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel


@cache
def section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Returns the model of what a key holds, or of the items of its list; None where it holds plain values."""
    return next((found for found in _types(model, key) if isinstance(found, type) and issubclass(found, BaseModel)), None)


@cache
def is_by_name(model: type[BaseModel], key: str) -> bool:
    """Returns whether a key holds a mapping whose keys people choose, as `shapes` and `labels` do."""
    return any(get_origin(found) is dict for found in _types(model, key))


def known_keys(model: type[BaseModel], way: list[Any]) -> list[str]:
    """Returns the keys that are allowed at a place below a model. Indices of lists are stepped over."""
    here = model
    for part in way:
        here = section(here, str(part)) or here
    return list(here.model_fields)


def _types(model: type[BaseModel], key: str) -> Iterator[Any]:
    field = model.model_fields.get(key)
    waiting = [field.annotation] if field is not None else []
    while waiting:
        found = waiting.pop()
        yield found
        if get_origin(found) is not dict:
            waiting.extend(get_args(found))
