"""Reads durations as people type them: `30d`, `12h`, `90m`."""

from __future__ import annotations

import re
from datetime import timedelta

from shared.errors import InvalidInput

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORM = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smhdw])", re.ASCII)


def duration(text: str, option: str) -> timedelta:
    """Return the duration that a text names.

    Args:
        option: the option that it was given with; part of the message.

    Raises:
        InvalidInput: the text names no duration.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f"{option} {text!r} is no duration; write a number and a unit ({', '.join(UNITS)}), such as 30d or 12h")
    return timedelta(**{UNITS[found[2]]: float(found[1])})
