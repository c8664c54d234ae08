"""Defines the interface that every hardware test implements, and the values that it returns.

This module imports neither pydantic nor numpy, because the measured process imports it before its libraries.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from time import perf_counter_ns
from typing import Any, Literal, Protocol, get_args

Better = Literal["lower", "higher"]
TIMES_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}  # nanoseconds of one unit
RATES_PER_NS = {"1/s": 1e-9, "MB/s": 1e-3, "GB/s": 1.0, "TFLOP/s": 1e3}  # things, bytes or operations in a nanosecond, of one unit
# How a figure's name ends, by its unit. Another unit has no calls, because nothing says how long one of them took.
ENDINGS = {"1/s": "per_s", "MB/s": "mb_per_s", "GB/s": "gb_per_s", "TFLOP/s": "tflops"} | {unit: unit for unit in TIMES_NS}


@dataclass(frozen=True)
class Reading:
    """Holds one number that one process has measured. It becomes one value in `repeats` of a figure.

    Attributes:
        name: It ends with the unit, as in `triad_gb_per_s`; see `ENDINGS`.
        unit: `GB/s` is 10^9 bytes per second; `TFLOP/s` is 10^12 operations per second; `1/s` counts anything else.
        missing: Why `value` is None.
        calls: What the single calls gave, in order of time and in the same unit. Empty if the value is not computed from single calls.
        per_call: How much one call did: bytes for `GB/s`, operations for `TFLOP/s`, and steps for a time.
    """

    name: str
    unit: str
    better: Better
    value: float | None
    missing: str = ""
    calls: tuple[float, ...] = ()
    per_call: float = 1.0

    def __post_init__(self) -> None:
        if not self.unit:
            raise ValueError(f"{self.name} has no unit; a count of anything has the unit '1'")
        if self.unit in ENDINGS and not self.name.endswith(f"_{ENDINGS[self.unit]}"):
            raise ValueError(f"{self.name} is in {self.unit}; rename it, so that its name ends with _{ENDINGS[self.unit]}")
        if self.better not in get_args(Better):
            raise ValueError(f"{self.name}: better is {self.better!r}; write one of {', '.join(get_args(Better))}")
        for number in filter(lambda one: one is not None, (self.value, *self.calls)):
            if not isinstance(number, int | float) or not isfinite(number):
                raise ValueError(f"{self.name} is {number!r:.100}, which is no finite number; a value that cannot be measured is None")
        if self.value is None and not self.missing:
            raise ValueError(f"{self.name} has no value; say in `missing` why")
        if self.calls and self.unit not in ENDINGS:
            raise ValueError(f"{self.name} is in {self.unit!r}; single calls are only kept of figures in {', '.join(ENDINGS)}")

    def series(self) -> str:
        """Return what the series of its calls is named: the figure's name without its unit."""
        return self.name.removesuffix(f"_{ENDINGS[self.unit]}") if self.unit in ENDINGS else self.name

    def durations_ns(self) -> list[int]:
        """Return how long each call took, in nanoseconds."""
        if self.unit in TIMES_NS:
            return [round(value * self.per_call * TIMES_NS[self.unit]) for value in self.calls]
        return [round(self.per_call / (value * RATES_PER_NS[self.unit])) for value in self.calls]


@dataclass(frozen=True)
class Readings:
    """Holds what one test has measured in one process, and `facts`: the method, the sizes, and what the libraries report."""

    readings: tuple[Reading, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Readings:
        readings = (Reading(**{**reading, "calls": tuple(reading["calls"])}) for reading in stored["readings"])
        return cls(tuple(readings), dict(stored["facts"]))

    def count(self, name: str) -> int:
        return sum(reading.name == name for reading in self.readings)

    def value(self, name: str) -> float | None:
        return next((reading.value for reading in self.readings if reading.name == name), None)


class Share:
    """Is the time that a test may take. It starts when it is created. A test may take longer only to reach its smallest sample."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begin = perf_counter_ns()

    def left_s(self) -> float:
        return self.seconds - (perf_counter_ns() - self._begin) / 1e9

    def is_over(self) -> bool:
        return self.left_s() <= 0

    def part(self, of: int) -> Share:
        """Return a new share: an equal part of the time that is left, for the first of `of` things that still have to be done."""
        return Share(max(self.left_s(), 0) / max(of, 1))


class HardwareTest(Protocol):
    """Measures one property of one device. It is created and run once in each measured process."""

    def run(self, share: Share) -> Readings:
        """Measure, and return every figure of this test. A figure that the device cannot give has no value and says why.

        Raises:
            DeviceFailed: The device failed during the measurement. So does every error that is no mistake of the test's own code.
        """
