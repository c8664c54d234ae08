"""Says what one client process does. It is sent to the process as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from worker.load.arrivals import Shape


@dataclass(frozen=True)
class PhasePlan:
    """Describes one phase: the operations that are sent, mixed at random by their weights, and when they are sent.

    Attributes:
        count: How many requests all client processes send together; None if `duration_s` ends the phase.
        lead_s: How long requests are sent before the measured window begins.
    """

    name: str
    operations: Mapping[str, float]
    shape: Shape
    count: int | None = None
    duration_s: float | None = None
    lead_s: float = 0.0


@dataclass(frozen=True)
class ClientPlan:
    """Describes the work of one client process.

    Attributes:
        driver: Its name in `worker.drivers.registry`.
        settings: The client settings of the recipe, with every default.
        concurrent: How many requests the process keeps in flight at most, each on a connection of its own.
        secrets: Keys and passwords; they are sent through the process's standard input and are in no file.
        seed: What the contents of this process's requests are drawn from.
    """

    driver: str
    address: str
    settings: Mapping[str, Any]
    phases: tuple[PhasePlan, ...]
    concurrent: int
    client: int
    clients: int
    seed: str
    timeout_s: float
    folder: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ClientPlan:
        phases = tuple(
            PhasePlan(**{**phase, "shape": Shape(**{**phase["shape"], "trace_s": tuple(phase["shape"]["trace_s"])})})
            for phase in content["phases"]
        )
        return cls(**{**content, "phases": phases})

    def spool_name(self, phase: int) -> str:
        return f"client-{self.client}.phase-{phase}.records"
