"""Defines the port of the samplers: what is watched beside a measurement.

All samplers of an attempt run in one process of their own (`worker.samplers.loop`), which the guard owns. So they may import what they
need, and they may block for some milliseconds: one that blocks longer makes all of them less frequent. They must not take more than some
hundred microseconds of CPU time for one reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shared.columns import Column

Values = Sequence[float | None]


@dataclass(frozen=True)
class Place:
    """Says what a sampler looks at.

    Attributes:
        root: The folder that holds `proc` and `sys`; tests name another.
        guard: The process whose children are the measured ones.
        metrics_url: The page with a service's own metrics; empty if there is none.
        service: The type of the service that is under load; empty if none is. `service_address` is where its clients find it, and
            `service_settings` are those settings of its clients that say more about that.
        cuda_visible: The value of CUDA_VISIBLE_DEVICES in the measured processes; None if it is not set.
        cuda_order: Their CUDA_DEVICE_ORDER.
    """

    root: Path = Path("/")
    guard: int = 0
    metrics_url: str = ""
    cuda_visible: str | None = None
    cuda_order: str = ""
    service: str = ""
    service_address: str = field(default="", repr=False)  # it may have a login
    service_settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lack:
    """Says why a sampler has nothing to read here, and what a person can do about it, if anything."""

    reason: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.reason}; {self.mend}" if self.mend else self.reason


class Vanished(Exception):
    """Raised by `read` when a source is gone for good. All its columns are null from then on, with this reason."""


class Sampler(Protocol):
    """Reads some columns again and again. The constructor takes a `Place` and opens nothing."""

    def open(self) -> Sequence[Column]:
        """Find the sources, and return one column for each value that `read` returns, in the same order.

        A source that exists and cannot be read is a column with its reason in `missing`.

        Raises:
            Vanished: There is nothing to read.
        """

    def read(self) -> Values:
        """Return the values of now. None is a value that cannot be read at this moment, or not any more (see `missing`).

        Raises:
            Vanished: The whole source is gone for good.
        """

    def missing(self) -> Mapping[str, str]:
        """Return why columns have become null for good since `open`, by name."""

    def close(self) -> None:
        """Give everything back. It may be called at any time after the constructor, and more than once."""
