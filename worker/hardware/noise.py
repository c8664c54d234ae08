"""Grades the noise of a measurement from the facts that were observed around it.

`noisy`: something took time from the measurement, or slowed it down. `fair`: nothing did, as far as observed, but the kind or the
settings of the machine allow timings to vary. `quiet`: neither. Every grade but `quiet` comes with its reasons.

A fact that is None or missing could not be observed and has no influence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from shared.measurements import Noise

Grade = Literal["quiet", "fair", "noisy"]

# These limits are for other work, in cores. If it competes for the cores of the measured process, more than 0.1 is `fair` and more than 0.4
# is `noisy`. If there are enough free cores for it, it still shares caches, memory bandwidth and the power budget: more than 0.5 is `fair`.
CROWDED_FAIR, CROWDED_NOISY, BESIDE_FAIR = 0.1, 0.4, 0.5
STEAL_FAIR, STEAL_NOISY = 0.005, 0.02  # shares of the CPUs' time
HOT_C, GPU_HOT_C = 90.0, 85.0  # most processors slow down between 95 and 105 °C, data center GPUs above 85 °C
SLOW_CLOCK = 0.95  # a share of the clock that all cores can hold: at a lower clock, something slowed them down
LOW_CLOCK = 0.6  # a share of the highest clock of a processor that does not say what all cores can hold
MOVED_CLOCK = 0.10  # the difference between the readings, as a share of the highest


def grade(facts: Mapping[str, Any]) -> Noise:
    """Return the grade and all its reasons. Reasons for `noisy` come first."""
    reasons = _Reasons()
    for judge in (_quota, _threads, _other_work, _hypervisor, _clock, _heat, _gpu, _stood_still, _settings):
        judge(facts, reasons)
    verdict: Grade = "noisy" if reasons.noisy else "fair" if reasons.fair else "quiet"
    return Noise(grade=verdict, reasons=reasons.noisy + reasons.fair, facts=dict(facts))


class _Reasons:
    def __init__(self) -> None:
        self.noisy: list[str] = []
        self.fair: list[str] = []

    def by_size(self, value: float | None, fair_above: float, noisy_above: float, reason: str) -> None:
        if value is not None and value > fair_above:
            (self.noisy if value > noisy_above else self.fair).append(reason.format(value))


def _quota(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    throttled, periods = facts.get("throttled_periods"), facts.get("quota_periods")
    if throttled:
        waited = facts.get("throttled_s")
        reasons.noisy.append(
            f"the CPU quota of {facts['quota_cores']:g} cores stopped the process in {throttled} of {periods} periods"
            + (f", for {waited:.1f} s in all" if waited else "")
        )


def _threads(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    threads, allowed = facts.get("threads"), facts.get("cpus_allowed")
    if threads and allowed and threads > allowed:
        of = f" of {facts['cpus']}" if (facts.get("cpus") or 0) > allowed else ""
        reasons.noisy.append(f"the runtime computed with {threads} threads on {allowed}{of} CPUs that the process may use")


def _other_work(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    allowed = facts.get("cpus_allowed") or facts.get("cpus") or 0
    used = max(facts.get("cores_used") or 0.0, min(facts.get("threads") or 0, allowed))
    for name, told in (
        ("other_cores", "other work kept {:.1f} cores busy while measuring"),
        ("other_cores_before", "other work kept {:.1f} cores busy just before"),
    ):
        other = facts.get(name)
        # Averages hide peaks: work that fills half of the free cores on average sometimes needs more than all of them.
        crowded = other is not None and other > max(0.0, allowed - used) / 2
        if crowded:
            reasons.by_size(other, CROWDED_FAIR, CROWDED_NOISY, f"{told}, on {allowed} CPUs of which the process needed {used:.1f}")
        else:
            reasons.by_size(other, BESIDE_FAIR, float("inf"), f"{told}, beside the {used:.1f} that the process needed")


def _hypervisor(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    reasons.by_size(facts.get("steal"), STEAL_FAIR, STEAL_NOISY, "the hypervisor took {:.1%} of the CPU")


def _clock(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    low, high = facts.get("mhz_under_load_min"), facts.get("mhz_under_load_max")
    sustained, most = facts.get("mhz_sustained"), facts.get("mhz_limit")
    if low is None or high is None:
        return
    if sustained and low < SLOW_CLOCK * sustained:
        reasons.noisy.append(f"the processor ran at {low:.0f} MHz under load, below the {sustained:.0f} MHz that it can hold")
    elif not sustained and most and low < LOW_CLOCK * most:
        reasons.fair.append(f"the processor ran at {low:.0f} MHz under load, of {most:.0f} MHz at most")
    if high > 0 and (high - low) / high > MOVED_CLOCK:
        reasons.fair.append(f"the processor's clock moved between {low:.0f} and {high:.0f} MHz while measuring")


def _heat(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    reasons.by_size(facts.get("throttle_events"), 0, 0, "the processor throttled {:.0f} times because of heat")
    limit = min(HOT_C, facts.get("temperature_limit_c") or HOT_C)
    reasons.by_size(facts.get("temperature_c_max"), limit, limit, "the processor was at {:.0f} °C")
    if cooling := facts.get("cooling"):
        reasons.noisy.append(f"the system slowed the processor down to cool it: {', '.join(cooling)}")
    if firmware := facts.get("firmware_limits"):
        reasons.noisy.append(f"the board's firmware slowed the processor down: {', '.join(firmware)}")


def _gpu(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    if foreign := facts.get("foreign_gpu_processes"):
        reasons.noisy.append(f"other processes use the GPU: {', '.join(map(str, foreign))}")
    if slowdowns := facts.get("gpu_slowdowns"):
        reasons.noisy.append(f"the GPU lowered its clocks: {', '.join(slowdowns)}")
    elif (slowed := facts.get("gpu_slowed_by_heat_s")) is not None and slowed > 0:
        reasons.noisy.append(f"heat slowed the GPU down for {slowed:.1f} s")
    reasons.by_size(facts.get("gpu_temperature_c_max"), GPU_HOT_C, GPU_HOT_C, "the GPU was at {:.0f} °C")
    if facts.get("gpu_power_capped"):
        reasons.fair.append("the GPU ran at its power limit: its clocks depend on its temperature")


def _stood_still(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    if times := facts.get("repeats_voided"):
        again = "1 void repeat was" if times == 1 else f"{times} void repeats were"
        reasons.fair.append(
            f"the measured process stood still for {facts.get('stood_still_s') or 0.0:.1f} s (stopped, frozen or suspended); "
            f"{again} measured again"
        )


def _settings(facts: Mapping[str, Any], reasons: _Reasons) -> None:
    if facts.get("on_battery"):
        reasons.noisy.append("the device runs on its battery")
    if (governor := facts.get("governor")) and governor != "performance":
        reasons.fair.append(f"the frequency governor is {governor}")
    if facts.get("turbo"):
        reasons.fair.append("turbo is on: the frequency depends on heat and on the other cores")
    if facts.get("virtual"):
        reasons.fair.append("a virtual machine: its host's other work cannot be seen")
    if doubt := facts.get("host_lock_doubt"):
        reasons.fair.append(doubt)
