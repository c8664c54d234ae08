"""Defines the type of JSON data that another program reports. It may have any structure, and is stored and displayed without a schema.

Values that cannot be stored are replaced; see `shared.storable`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from shared.storable import storable

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Facts = Annotated[dict[str, Any], AfterValidator(storable)]
