"""What a program says of itself: JSON of any shape, kept as it came and shown again."""

from __future__ import annotations

import math
import sys
from typing import Annotated, Any

from pydantic import AfterValidator, Field

LARGEST = int(sys.float_info.max)  # an integer beyond it is infinite for whoever reads numbers as JavaScript does

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


def storable(content: Any) -> Any:
    """The same, with null for what JSON cannot carry: NaN, an infinity, an integer of more than 308 digits.

    In a text, `?` stands for half a character (a byte of a file's name that is no text).
    """
    if isinstance(content, str):
        return content.encode(errors="replace").decode()
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, int):
        return content if abs(content) <= LARGEST else None
    if isinstance(content, dict):
        return {storable(name): storable(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [storable(value) for value in content]
    return content


Facts = Annotated[dict[str, Any], AfterValidator(storable)]
