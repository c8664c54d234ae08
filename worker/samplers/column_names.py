"""Makes names of columns: lower-case words, each of them only once."""

from __future__ import annotations

import re
from collections.abc import Container


def word(text: str) -> str:
    """Return a text as a part of a column's name, such as `vdd_in` for `VDD-IN`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60] or "unnamed"


def unused(name: str, names: Container[str]) -> str:
    """Return the name, or the name with the first number from 2 that makes it another one than those of `names`."""
    number = 2
    unique = name
    while unique in names:
        unique, number = f"{name}_{number}", number + 1
    return unique
