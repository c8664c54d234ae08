"""Joins what was seen in several windows of one measurement into the facts by which its noise is graded.

A job that takes turns with other jobs is observed only in its own turns. So it is not blamed for what happened while another job was
measured, such as a CPU quota that only the other job's threads used up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Window(NamedTuple):
    """Holds what was seen in one window, and how many seconds it lasted."""

    wall_s: float
    facts: Mapping[str, Any]


def joined(windows: Sequence[Window]) -> dict[str, Any]:
    """Return the facts of all windows together. A fact that is not listed in `_RULES` is that of the first window."""
    if len(windows) == 1:
        return dict(windows[0].facts)
    facts = dict(windows[0].facts)
    for name, rule in _RULES.items():
        if name in facts:
            seen = [(window.wall_s, value) for window in windows if (value := window.facts.get(name)) is not None]
            facts[name] = rule(seen) if seen else None
    return facts


_Seen = Sequence[tuple[float, Any]]  # the seconds of each window that has the fact, and the fact


def _mean(seen: _Seen) -> Any:
    """Return the mean over time: a window counts as long as it lasted."""
    total_s = sum(wall_s for wall_s, _ in seen)
    return sum(wall_s * value for wall_s, value in seen) / total_s if total_s > 0 else max(value for _, value in seen)


def _sum(seen: _Seen) -> Any:
    return sum(value for _, value in seen)


def _least(seen: _Seen) -> Any:
    return min(value for _, value in seen)


def _most(seen: _Seen) -> Any:
    return max(value for _, value in seen)


def _last(seen: _Seen) -> Any:
    return seen[-1][1]


def _all(seen: _Seen) -> list[Any]:
    return sorted({item for _, values in seen for item in values})


_RULES: Mapping[str, Callable[[_Seen], Any]] = {
    "other_cores": _mean,
    "cores_used": _mean,
    "steal": _mean,
    "threads": _last,
    "on_battery": _most,
    "repeats_voided": _sum,
    "stood_still_s": _sum,
    "quota_periods": _sum,
    "throttled_periods": _sum,
    "throttled_s": _sum,
    "mhz_under_load_min": _least,
    "mhz_under_load_max": _most,
    "temperature_c_max": _most,
    "temperature_limit_c": _least,
    "throttle_events": _sum,
    "cooling": _all,
    "firmware_limits": _all,
    "foreign_gpu_processes": _all,
    "gpu_temperature_c_max": _most,
    "gpu_slowdowns": _all,
    "gpu_power_capped": _most,
    "gpu_slowed_by_heat_s": _sum,
}
