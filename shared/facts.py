"""What a program says of itself: JSON of any shape, kept as it came and shown again."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field

LARGEST = 2**63 - 1  # what a database's integer, and a JSON reader of another language, holds

Count = Annotated[int, Field(ge=0, le=LARGEST)]


def storable(content: Any) -> Any:
    """The same, with null for what neither JSON nor a database can hold: NaN, an infinity, an integer beyond 64 bits."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, int):
        return content if abs(content) <= LARGEST else None
    if isinstance(content, dict):
        return {name: storable(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [storable(value) for value in content]
    return content


Facts = Annotated[dict[str, Any], AfterValidator(storable)]
