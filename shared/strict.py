"""Defines the base of the pydantic models that people and other programs fill."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Is the base of pydantic models that reject unknown keys and do not convert types. So `"10"` is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
