"""Limits the size of a recipe. This is checked before the values are validated, because each invalid value costs one error message."""

from __future__ import annotations

from typing import Any

from shared.engine_options import MAX_ITEMS
from shared.errors import FieldError, InvalidInput
from shared.external_data import MAX_FILES
from shared.jobs import MAX_JOBS
from shared.masking import without_logins
from shared.recipes.schema import MAX_DEVICES, MAX_MODELS, MAX_UNITS
from shared.recipes.text import MAX_VALUES, Places

MAX_KEY = 1_000  # characters; each error below a key contains a copy of the key
# A list that is not named here, such as a shape, has at most MAX_ITEMS.
_LONGEST = {"models": MAX_MODELS, "on": MAX_UNITS, "devices": MAX_DEVICES, "companions": MAX_FILES}


def refuse_too_much(content: dict[Any, Any], source: str, places: Places | None) -> None:
    """Check the size of a recipe.

    Raises:
        InvalidInput: a list or a key is too long, or there are too many values.
    """
    left = MAX_VALUES
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), content)]
    while waiting:
        way, value = waiting.pop()
        if not isinstance(value, dict | list | tuple):
            continue
        left -= len(value)
        if left < 0:
            raise InvalidInput(f"{source} holds more than {MAX_VALUES} values; split it into several campaigns")
        if isinstance(value, dict):
            long = next((key for key in value if isinstance(key, str) and len(key) > MAX_KEY), None)
            if long is not None:
                raise _refused(
                    (*way, f"{without_logins(long):.40}…"),
                    f"a key of {len(long)} characters; at most {MAX_KEY} are accepted",
                    source,
                    places,
                )
            waiting.extend(((*way, key), item) for key, item in value.items())
        else:
            most = MAX_JOBS if way[0] == "sweep" else _LONGEST.get(way[-1], MAX_ITEMS)
            if len(value) > most:
                raise _refused(way, f"a list of {len(value)}; at most {most} are accepted", source, places)
            waiting.extend(((*way, index), item) for index, item in enumerate(value))


def _refused(way: tuple[Any, ...], message: str, source: str, places: Places | None) -> InvalidInput:
    path, line = ".".join(map(str, way)), places.line(way) if places is not None else None
    message = f"line {line}: {message}" if line else message
    return InvalidInput(f"{source} is not valid: {path}: {message}", fields=[FieldError(path, message)])
