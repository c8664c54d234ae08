"""Defines the request to the process that samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker.samplers.base import Place

MAX_ROWS = 36_000  # an hour at 10 Hz; then every second sample goes, and the time between two doubles, up to 1.6 s


@dataclass(frozen=True)
class SampleRequest:
    """Says what to sample, how often, and where to write it.

    Attributes:
        path: the files are this path with other endings (see `worker.samplers.looks`).
        period_s: the shortest time between two samples.
    """

    path: str
    samplers: tuple[str, ...]
    period_s: float
    guard: int
    root: str = "/"
    metrics_url: str = ""
    cuda_visible: str | None = None
    cuda_order: str = ""
    max_rows: int = MAX_ROWS
    service: str = ""
    service_address: str = field(default="", repr=False)
    service_settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def place(self) -> Place:
        return Place(
            root=Path(self.root),
            guard=self.guard,
            metrics_url=self.metrics_url,
            cuda_visible=self.cuda_visible,
            cuda_order=self.cuda_order,
            service=self.service,
            service_address=self.service_address,
            service_settings=self.service_settings,
        )
