"""Computes the energy and the power of the timed inferences from samples. The functions are pure.

A counter of energy comes first: its difference over the timed inferences, if they last at least `MIN_SECONDS` and the counter steps at
least `MIN_STEPS` times, so that the steps at both ends are at most a few percent. Where the power is sampled, too, the integrated power
must agree with the counter within `MAX_DISAGREEMENT`. Without a usable counter, the power is integrated by the trapezoid rule, if no
two samples are `MAX_GAP_S` or more apart. Nothing is interpolated. An energy that does not meet these conditions is null, with the reason.

A source may be broken: some virtual machines show a counter that never moves, and some meters show 0 W. No device takes nothing, so such a
source gives no energy either.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

MIN_SECONDS = 5.0
MIN_STEPS = 100
MAX_GAP_S = 3.0
MAX_DISAGREEMENT = 0.10
STILL_STEPS = 20  # a counter that has not moved for as long as it takes for so many steps has stopped
MIN_COVERED = 0.5  # if samples cover less of a window, they say too little about the rest

Source = Literal["", "counter", "integrated"]
Point = tuple[float, float]  # seconds, and a value


@dataclass(frozen=True)
class Window:
    """Holds when the timed inferences of one repeat ran. `begin_s` is on the clock of the samples."""

    begin_s: float
    seconds: float
    inferences: int


@dataclass(frozen=True)
class Measured:
    """Holds the energy of some timed inferences, or why it is not known.

    Attributes:
        joules: for all timed inferences of the windows that samples cover well enough.
        inferences: how many inferences that was.
        seconds: how long these inferences took.
        measured_s: how much of that time lies between samples.
        repeats: the energy of one inference in each of these windows.
        checked: integrated power divided by the counter's difference; None if only one of them is known.
    """

    source: Source = ""
    joules: float | None = None
    inferences: int = 0
    seconds: float = 0.0
    measured_s: float = 0.0
    steps: int = 0
    checked: float | None = None
    repeats: tuple[float, ...] = ()
    missing: str = ""

    @property
    def watts(self) -> float | None:
        return self.joules / self.seconds if self.joules is not None and self.seconds > 0 else None

    @property
    def per_inference(self) -> float | None:
        return self.joules / self.inferences if self.joules is not None and self.inferences else None


@dataclass(frozen=True)
class _Part:
    """Holds what one window gave: the mean power between its first and last sample, and how much of the window that is.

    Attributes:
        steps: how often a counter stepped, as its maker documents it or as samples show it.
        seen: how often samples show that a counter stepped.
        still_s: the longest time between samples in which a counter did not step.
    """

    window: Window
    watts: float
    covered_s: float
    steps: int = 0
    seen: int = 0
    still_s: float = 0.0

    @property
    def joules(self) -> float:
        """Return the energy of the whole window, at the power that its samples show."""
        return self.watts * self.window.seconds


def energy_of(
    times: Sequence[float],
    windows: Sequence[Window],
    counter: Sequence[float] | None = None,
    power: Sequence[float] | None = None,
    step_s: float | None = None,
) -> Measured:
    """Return the energy of the windows.

    Args:
        times: when each sample was taken, in seconds; they grow.
        counter: the counter's values in J at these times. NaN for a sample without a value. A counter that falls within a window has
            started again, for example because a driver was loaded again, and gives no energy.
        power: the power in W at these times. NaN for a sample without a value.
        step_s: how often the counter steps, if its maker documents that. Without it, only the steps that samples show count.
    """
    counted = integrated = None
    if points := _points(times, counter):
        counted = _fallen(points, windows) or _total("counter", [_counter_part(points, one, step_s) for one in windows], windows)
    if points := _points(times, power):
        integrated = _total("integrated", [_power_part(points, one) for one in windows], windows)
    if counted is None and integrated is None:
        return Measured(missing="nothing that measures energy or power was sampled")
    if counted is not None and counted.joules is not None:
        ratio = _ratio(integrated, counted)
        if ratio is not None and abs(ratio - 1) > MAX_DISAGREEMENT:
            return Measured(
                seconds=counted.seconds,
                measured_s=counted.measured_s,
                steps=counted.steps,
                checked=ratio,
                missing=f"the counter says {counted.watts:.4g} W on average and the sampled power {ratio * (counted.watts or 0):.4g} W: "
                f"they differ by {abs(ratio - 1):.0%}, and {MAX_DISAGREEMENT:.0%} is allowed",
            )
        return Measured(**{**counted.__dict__, "checked": ratio})
    if integrated is not None and integrated.joules is not None:
        return integrated
    return counted if counted is not None else integrated or Measured()


def inside(times: Sequence[float], values: Sequence[float], windows: Iterable[Window] | None = None) -> list[Point]:
    """Return the samples with a value that lie in the windows, in order. Without windows, return all that have a value."""
    points = _points(times, values)
    return points if windows is None else [point for window in windows for point in _inside(points, window)]


def average(times: Sequence[float], values: Sequence[float], windows: Iterable[Window]) -> float | None:
    """Return the mean of the samples that lie in the windows, or None if there is none."""
    found = [value for _, value in inside(times, values, windows)]
    return math.fsum(found) / len(found) if found else None


def highest(times: Sequence[float], values: Sequence[float], windows: Iterable[Window] | None = None) -> float | None:
    """Return the largest sample in the windows, or of all samples. None if there is none."""
    return max((value for _, value in inside(times, values, windows)), default=None)


def added(series: Sequence[Sequence[float]]) -> list[float]:
    """Return the sum of several series, sample by sample. It is NaN where one of them is."""
    return [math.fsum(values) for values in zip(*series, strict=True)]


class Unwrapped:
    """Makes a counter that only grows of one that starts again at zero when it has come to the end of its range.

    It must be read before it can have grown by half of its range. Without a range (0), it cannot have come to an end. If it would have
    grown by more, it did not come to its end: it was set to zero, as after the machine has slept. How much it had grown until then is not
    known, so the result falls to zero, too.
    """

    def __init__(self, modulus: float) -> None:
        self._modulus = modulus
        self._last: float | None = None
        self._total = 0.0

    def add(self, value: float) -> float:
        """Return how much the counter has grown since the first reading, or since it was set to zero."""
        if self._last is not None:
            grown = value - self._last
            if grown < 0:
                if not 0 < grown + self._modulus < self._modulus / 2:
                    self._total, grown = 0.0, 0.0
                else:
                    grown += self._modulus
            self._total += grown
        self._last = value
        return self._total


def _points(times: Sequence[float], values: Sequence[float] | None) -> list[Point]:
    return [(at, value) for at, value in zip(times, values or (), strict=False) if not math.isnan(value)]


def _inside(points: list[Point], window: Window) -> list[Point]:
    first = bisect_left(points, window.begin_s, key=_time)
    return points[first : bisect_right(points, window.begin_s + window.seconds, key=_time)]


def _time(point: Point) -> float:
    return point[0]


def _fallen(points: list[Point], windows: Sequence[Window]) -> Measured | None:
    """Return that there is no energy if the counter fell while inferences were timed, or None if it did not."""
    for window in windows:
        for (_, before), (_, after) in pairwise(_inside(points, window)):
            if after < before:
                return Measured(
                    missing=f"the counter of energy fell from {before:.6g} J to {after:.6g} J while inferences were timed: it was set to "
                    "zero or corrected, for example because a driver was loaded again; measure again"
                )
    return None


def _counter_part(points: list[Point], window: Window, step_s: float | None) -> _Part | None:
    inside = _inside(points, window)
    covered = _covered(inside, window)
    if covered is None:
        return None
    steps = seen = sum(after > before for (_, before), (_, after) in pairwise(inside))
    if step_s:
        steps = max(steps, math.floor(covered / step_s))
    return _Part(window, (inside[-1][1] - inside[0][1]) / covered, covered, steps, seen, _still_s(inside))


def _still_s(points: Sequence[Point]) -> float:
    """Return the longest time in which a counter did not step."""
    longest = since = 0.0
    for (begin, before), (end, after) in pairwise(points):
        since = 0.0 if after > before else since + end - begin
        longest = max(longest, since)
    return longest


def _power_part(points: list[Point], window: Window) -> _Part | None:
    inside = _inside(points, window)
    covered = _covered(inside, window)
    if covered is None:
        return None
    pairs = list(pairwise(inside))
    if any(after[0] - before[0] >= MAX_GAP_S for before, after in pairs):
        return None
    return _Part(window, math.fsum((b[1] + a[1]) / 2 * (a[0] - b[0]) for b, a in pairs) / covered, covered)


def _covered(inside: Sequence[Point], window: Window) -> float | None:
    """Return how long the samples of a window span, or None if that is too little of it, or if an end of it is too long without one."""
    if len(inside) < 2:
        return None
    first, last = inside[0][0], inside[-1][0]
    covered, end = last - first, window.begin_s + window.seconds
    if covered <= 0 or covered < MIN_COVERED * window.seconds or max(first - window.begin_s, end - last) >= MAX_GAP_S:
        return None
    return covered


def _total(source: Literal["counter", "integrated"], parts: Sequence[_Part | None], windows: Sequence[Window]) -> Measured:
    used = [part for part in parts if part is not None]
    covered, steps = math.fsum(part.covered_s for part in used), sum(part.steps for part in used)
    if why := _why_not(source, covered, steps, windows, len(used)):
        return Measured(measured_s=covered, steps=steps, missing=why)
    if why := _why_not_believed(source, used, covered):
        return Measured(measured_s=covered, missing=why)
    return Measured(
        source=source,
        joules=math.fsum(part.joules for part in used),
        inferences=sum(part.window.inferences for part in used),
        seconds=math.fsum(part.window.seconds for part in used),
        measured_s=covered,
        steps=steps,
        repeats=tuple(part.joules / part.window.inferences for part in used if part.window.inferences),
    )


def _why_not(source: str, covered: float, steps: int, windows: Sequence[Window], used: int) -> str:
    """Return why parts that samples cover for so long are not enough, or an empty text if they are."""
    if not windows:
        return "nothing was timed"
    seconds = math.fsum(window.seconds for window in windows)
    enough = f"an energy needs {MIN_SECONDS:g} s" + (f" and {MIN_STEPS} steps of the counter" if source == "counter" else "")
    if seconds < MIN_SECONDS:
        return f"too short: the timed inferences took {seconds:.2g} s, and {enough}; ask for more inferences"
    if covered < MIN_SECONDS:
        left = len(windows) - used
        return (
            f"too few samples: they cover {covered:.2g} s of {seconds:.3g} s, and {enough}; in {left} of {len(windows)} repeats samples "
            "were late or missing, or the timed part was shorter than two of them: ask for more inferences in each repeat"
        )
    if source == "counter" and steps < MIN_STEPS:
        return f"too short: the counter was seen to step {steps} times in {covered:.3g} s, and {enough}; ask for more inferences"
    return ""


def _why_not_believed(source: str, used: Sequence[_Part], covered: float) -> str:
    """Return why these parts show a source that does not work, or an empty text if they do not."""
    if source == "integrated":
        watts = math.fsum(part.joules for part in used) / math.fsum(part.window.seconds for part in used)
        return "" if watts > 0 else f"the sampled power is {watts:.3g} W on average, which no device takes: its meter does not work"
    seen = sum(part.seen for part in used)
    still_s = max(part.still_s for part in used)
    if seen and still_s < max(MAX_GAP_S, STILL_STEPS * covered / seen):
        return ""
    stood = f"stood still for {still_s:.3g} s" if seen else "never moved"
    return (
        f"the counter of energy {stood} while inferences were timed, so it does not show what the device took: some virtual machines have "
        "a counter that does not count; measure on the machine itself"
    )


def _ratio(integrated: Measured | None, counted: Measured) -> float | None:
    if integrated is None or integrated.watts is None or not counted.watts:
        return None
    return integrated.watts / counted.watts
