"""What a program says of itself: JSON of any shape, kept as it came and shown again."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from shared.storable import storable

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Facts = Annotated[dict[str, Any], AfterValidator(storable)]
