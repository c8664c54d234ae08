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
    """Names a service that the worker starts: which one, in which way, and with which settings.

    `settings` are those of the launcher, such as the image of a container. Those of the service are in the specification of the job.
    """

    type: Literal["launched"] = "launched"
    service: OneLine = Field(min_length=1, max_length=64)
    launcher: OneLine = Field(default="process", min_length=1, max_length=64)
    settings: dict[str, Any] = Field(default_factory=dict)
    fresh: Literal["repeat", "job", "campaign"] = "job"
    restarts: int = Field(default=1, ge=0, le=100)
    health_timeout_s: float = Field(default=120.0, gt=0, le=86_400)


Target = Annotated[Existing | Launched, Field(discriminator="type")]
