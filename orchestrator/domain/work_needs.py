"""Says what the work of a job needs of a device, beside its capability and what the recipe requires.

It follows from the work itself: a language model needs its library and memory, a load may need a server that the worker starts.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.domain.model_memory import ModelMemory, memory_of
from shared.capabilities import libraries_of, resolve
from shared.inputs import ModelRef
from shared.kinds.base import Spec
from shared.sources import UPLOAD
from shared.targets import Launched, Target


class WorkNeeds(BaseModel):
    """Is stored with the lane of the jobs. A key that a newer version wrote is ignored, because that version checks it itself.

    Attributes:
        kind: the kind of work, if not every worker with the capability can do it. Empty if every such worker can.
        service: the type of service that the worker starts for the job. Empty if it starts none.
        launcher: how it starts that service.
        model: what the model is, so that a worker that has it in its cache is preferred.
        memory_mb: the memory that the model takes of each device, in MB of 2^20 bytes: its weights, and the keys and values of the tokens.
            None if that is not known before a worker has fetched the model.
        dtype: the type of the weights, if it is known.
        gpus: over how many GPUs the model is spread; 1 also for a model on a processor.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str = ""
    service: str = ""
    launcher: str = ""
    model: str = ""
    memory_mb: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    dtype: str = ""
    gpus: int = Field(default=1, ge=1)

    def is_empty(self) -> bool:
        return self == NO_NEEDS

    def stored(self) -> dict[str, Any] | None:
        """Return what the database keeps, or None if the work needs nothing."""
        return self.model_dump(mode="json", exclude_defaults=True) or None


NO_NEEDS = WorkNeeds()


def work_needs(spec: Spec, target: Target | None, unit: str, model: ModelRef | None, facts: ModelMemory | None) -> WorkNeeds:
    """Return what a job's work needs of its device.

    Args:
        unit: the job's compute unit: a capability, or a label of several.
        facts: what is known of the model's memory.
    """
    launched = target if isinstance(target, Launched) else None
    if not spec.takes_snapshots and launched is None:
        return NO_NEEDS
    held = memory_of(facts, spec.kept_tokens(), spec.asked_dtype()) if facts is not None else None
    return WorkNeeds(
        kind=spec.kind if any(libraries_of(capability, spec.kind) for capability in resolve(unit)) else "",
        service=launched.service if launched is not None else "",
        launcher=launched.launcher if launched is not None else "",
        model=identity_of(model) if model is not None and spec.takes_snapshots else "",
        memory_mb=None if held is None else round(held.total_mb / spec.devices(), 1),
        dtype=spec.asked_dtype() or (facts.dtype if facts is not None else ""),
        gpus=spec.devices(),
    )


def identity_of(model: ModelRef) -> str:
    """Return by what workers list a model in their caches: the SHA-256 of its content if it is known, otherwise its address."""
    return model.content_sha256 or (model.sha256 or "" if model.source.startswith(UPLOAD) else model.source)
