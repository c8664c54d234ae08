"""Defines the raw data of one measured process: its phases, and its series of samples.

This module needs neither pydantic nor numpy, because measured processes use it, and their memory is a result.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any, Literal

Unit = Literal["ns", "bytes", "count", "mJ"]

# The fact of a record that says when its units of work were timed, for a kind that does other things meanwhile: a list of (seconds since
# the phase `measuring` began, how many seconds, how many units).
TIMED_SPANS = "timed_spans"


def _no_values() -> array[int]:
    return array("q")


@dataclass(frozen=True)
class Series:
    """Holds the samples of one thing that was measured repeatedly, in order of time. Each sample is a whole number of `unit`."""

    name: str
    unit: Unit = "ns"
    values: array[int] = field(default_factory=_no_values)  # 8 bytes for each sample; a list of integers needs 40


@dataclass(frozen=True)
class Phase:
    """Holds how long a phase of a measured process took, and the largest memory of the process in it.

    `wall_ns` is the duration, `cpu_ns` the CPU time of all threads, `peak_mb` the largest resident memory in MB (2^20 bytes).
    """

    name: str
    wall_ns: int
    cpu_ns: int | None = None
    peak_mb: float | None = None


@dataclass(frozen=True)
class Record:
    """Holds what one measured process hands back. `error_kind` is empty if there was no error.

    `facts` holds what the kind of work reports besides: the runtime's own words, versions, the method of a figure.
    """

    phases: dict[str, Phase] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error_kind: str = ""
    error: str = ""
