"""Defines what a load is sent to: a service that runs already, or one that the worker starts for the job."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.names import OneLine
from shared.strict import Strict


class Existing(Strict):
    """Names a service that runs already, by its address."""

    type: Literal["existing"] = "existing"
    address: OneLine = Field(min_length=1, max_length=4096)


class Launched(Strict):
    """Names a service that the worker starts: which one, in which way, and with which settings."""

    type: Literal["launched"] = "launched"
    service: OneLine = Field(min_length=1, max_length=64)
    launcher: OneLine = Field(default="process", min_length=1, max_length=64)
    settings: dict[str, Any] = Field(default_factory=dict)


Target = Annotated[Existing | Launched, Field(discriminator="type")]
