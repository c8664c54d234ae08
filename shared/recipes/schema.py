"""The shape of a recipe for models on compute units."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from shared.capabilities import resolve
from shared.errors import InvalidInput
from shared.jobs import DEFAULT_PRIORITY, DEFAULT_QUEUE_TIMEOUT_S, DEFAULT_TIMEOUT_S, MAX_INFERENCES, MAX_REPEATS, MAX_TIMEOUT_S
from shared.workloads import Companion, EngineOptions, StopRule, Strict, Warmup


def _known_compute_unit(name: str) -> str:
    try:
        resolve(name)
    except InvalidInput as error:
        raise ValueError(error.detail) from error
    return name


ComputeUnit = Annotated[str, AfterValidator(_known_compute_unit)]


class ModelEntry(Strict):
    """A model of the list, with what differs for it alone."""

    model: str = Field(min_length=1, max_length=4096)
    name: str | None = Field(default=None, min_length=1, max_length=200)
    inferences: int | None = Field(default=None, ge=1, le=MAX_INFERENCES)
    options: EngineOptions | None = None
    # What whoever uploaded the model knows of it; checked on the device that fetches it.
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(default=None, ge=0)
    companions: tuple[Companion, ...] = ()


class Requirements(Strict):
    """What a device must have to be given the job."""

    min_memory_mb: int = Field(default=0, ge=0)
    min_gpu_memory_mb: int = Field(default=0, ge=0)
    labels: dict[str, str] = Field(default_factory=dict)

    def is_empty(self) -> bool:
        return self == Requirements()


class Retries(Strict):
    max_attempts: int = Field(default=3, ge=1, le=100)


class Recipe(Strict):
    """One benchmark: models x compute units x devices x sweep, a job each."""

    name: str = Field(default="campaign", min_length=1, max_length=200)
    notes: str = Field(default="", max_length=10_000)
    model: str | None = Field(default=None, min_length=1, max_length=4096)
    models: tuple[str | ModelEntry, ...] | None = Field(default=None, min_length=1, max_length=1_000)
    on: tuple[ComputeUnit, ...] = Field(min_length=1, max_length=100)
    devices: Literal["any", "every"] | tuple[str, ...] = "any"
    inferences: int = Field(default=10, ge=1, le=MAX_INFERENCES)
    repeats: int = Field(default=5, ge=1, le=MAX_REPEATS)
    loads: int = Field(default=0, ge=0, le=MAX_REPEATS)
    warmup: Warmup = Warmup()
    stop: StopRule | None = None
    priority: int = Field(default=DEFAULT_PRIORITY, ge=0, le=9)
    queue_timeout_s: float = Field(default=DEFAULT_QUEUE_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S)
    requires: Requirements = Requirements()
    options: EngineOptions = EngineOptions()
    sweep: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S)
    retries: Retries = Retries()
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_to_name_models(self) -> Recipe:
        if (self.model is None) == (self.models is None):
            raise ValueError("a recipe names either `model` or `models`; " + ("it has neither" if self.model is None else "it has both"))
        return self

    def entries(self) -> list[ModelEntry]:
        """The models as entries, whichever way they were written."""
        listed = self.models if self.models is not None else (self.model or "",)
        return [entry if isinstance(entry, ModelEntry) else ModelEntry(model=entry) for entry in listed]
