"""Defines the request to a measured process, the same for every kind of work."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Tells the name of a phase before it begins. During a phase it is called only by a process that does not measure itself: then the name is
# followed by what the phase tells, as `with_news` writes it.
Announce = Callable[[str], None]
_DONE = re.compile(r"\((\d+) % done\b")


def with_news(phase: str, share: float, news: str) -> str:
    """Return what is announced during a phase, such as `measuring (40 % done, 31200 requests/s)`.

    Args:
        share: How much of the phase is done, from 0 to 1.
    """
    return f"{phase} ({int(100 * min(max(share, 0.0), 1.0))} % done, {news})"


def share_done(announced: str) -> float:
    """Return how much of a phase is done, from 0 to 1, according to what was announced. 0 if it does not say so."""
    found = _DONE.search(announced)
    return int(found[1]) / 100 if found else 0.0


@dataclass(frozen=True)
class RunRequest:
    """Says what one fresh process must do: make ready what it measures and then, unless `load_only` is set, warm up and measure.

    Attributes:
        kind: The kind of work, by its name in `worker.kinds.registry`.
        spec: What to measure, as the kind's own part of the workload writes it in JSON.
        inputs: The path of each input on this device, by the input's role, such as `model`.
        repeats: How many such processes the job has at most, for a kind whose time is that of the whole job.
        address: Where the service is that gets the load, such as `redis://127.0.0.1:6379`. Empty for a kind without one.
        repeat: The number of this process among the repeats, counted from 0, from which a seed of its own can be made.
    """

    kind: str
    capability: str
    spec: dict[str, Any]
    record_path: str
    inputs: dict[str, str] = field(default_factory=dict)
    warmup_min_calls: int = 0
    warmup_min_s: float = 0.0
    warmup_max_s: float = 0.0
    load_only: bool = False
    repeats: int = 1
    address: str = ""
    repeat: int = 0

    def input(self, role: str) -> Path:
        """Return the path of the input with this role. A KeyError is a defect in our code: the workload was checked before."""
        return Path(self.inputs[role])

    @property
    def end_path(self) -> Path:
        """Return the file whose existence tells this process to end early, with what it has measured; see `KindEntry.ends_early`."""
        return Path(self.record_path).with_suffix(".end")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
