"""Tests that the grade of the noise follows from the facts, and that other work is judged in cores."""

from __future__ import annotations

from typing import Any

import pytest

from worker.hardware.noise import grade

QUIET: dict[str, Any] = {
    "cpus": 4,
    "cpus_allowed": 4,
    "cores_used": 3.9,
    "threads": 4,
    "other_cores_before": 0.02,
    "other_cores": 0.0,
    "quota_cores": 4.0,
    "quota_periods": 100,
    "throttled_periods": 0,
    "throttled_s": 0.0,
    "steal": 0.0,
    "throttle_events": 0,
    "temperature_c_max": 60.0,
    "temperature_limit_c": None,
    "cooling": [],
    "firmware_limits": [],
    "mhz_limit": 3600.0,
    "mhz_sustained": 3000.0,
    "mhz_under_load_min": 3300.0,
    "mhz_under_load_max": 3400.0,
    "foreign_gpu_processes": [],
    "gpu_slowdowns": [],
    "gpu_slowed_by_heat_s": 0.0,
    "gpu_temperature_c_max": 70.0,
    "gpu_power_capped": False,
    "repeats_voided": 0,
    "on_battery": False,
    "governor": "performance",
    "turbo": False,
    "virtual": False,
    "host_lock_doubt": "",
}


def test_a_machine_without_a_fault_is_quiet_and_needs_no_reason() -> None:
    noise = grade(QUIET)
    assert (noise.grade, noise.reasons) == ("quiet", [])
    assert noise.facts == QUIET


def test_unknown_facts_do_not_change_the_grade() -> None:
    assert grade(dict.fromkeys(QUIET)).grade == "quiet"
    assert grade({}).grade == "quiet"


@pytest.mark.parametrize(
    ("facts", "expected", "reason"),
    [
        ({"throttled_periods": 97, "throttled_s": 4.2, "quota_cores": 0.5}, "noisy",
         "the CPU quota of 0.5 cores stopped the process in 97 of 100 periods, for 4.2 s in all"),
        ({"cpus_allowed": 2, "threads": 8, "other_cores_before": 0.0}, "noisy",
         "the runtime computed with 8 threads on 2 of 4 CPUs that the process may use"),
        ({"steal": 0.01}, "fair", "the hypervisor took 1.0% of the CPU"),
        ({"steal": 0.05}, "noisy", "the hypervisor took 5.0% of the CPU"),
        ({"throttle_events": 3}, "noisy", "the processor throttled 3 times because of heat"),
        ({"temperature_c_max": 97.0}, "noisy", "the processor was at 97 °C"),
        ({"temperature_c_max": 86.0, "temperature_limit_c": 85.0}, "noisy", "the processor was at 86 °C"),
        ({"cooling": ["cpufreq-cpu0"]}, "noisy", "the system slowed the processor down to cool it: cpufreq-cpu0"),
        ({"firmware_limits": ["the supply voltage is too low"]}, "noisy",
         "the board's firmware slowed the processor down: the supply voltage is too low"),
        ({"mhz_under_load_min": 1200.0, "mhz_under_load_max": 1250.0}, "noisy",
         "the processor ran at 1200 MHz under load, below the 3000 MHz that it can hold"),
        ({"mhz_sustained": None, "mhz_under_load_min": 2000.0, "mhz_under_load_max": 2050.0}, "fair",
         "the processor ran at 2000 MHz under load, of 3600 MHz at most"),
        ({"mhz_under_load_min": 3000.0, "mhz_under_load_max": 3600.0}, "fair",
         "the processor's clock moved between 3000 and 3600 MHz while measuring"),
        ({"foreign_gpu_processes": [41, 42]}, "noisy", "other processes use the GPU: 41, 42"),
        ({"gpu_slowdowns": ["heat (hardware)"]}, "noisy", "the GPU lowered its clocks: heat (hardware)"),
        ({"gpu_slowed_by_heat_s": 1.25}, "noisy", "heat slowed the GPU down for 1.2 s"),
        ({"gpu_temperature_c_max": 91.0}, "noisy", "the GPU was at 91 °C"),
        ({"gpu_power_capped": True}, "fair", "the GPU ran at its power limit: its clocks depend on its temperature"),
        ({"repeats_voided": 1, "stood_still_s": 103.0}, "fair",
         "the measured process stood still for 103.0 s (stopped, frozen or suspended); 1 void repeat was measured again"),
        ({"on_battery": True}, "noisy", "the device runs on its battery"),
        ({"governor": "powersave"}, "fair", "the frequency governor is powersave"),
        ({"turbo": True}, "fair", "turbo is on: the frequency depends on heat and on the other cores"),
        ({"virtual": True}, "fair", "a virtual machine: its host's other work cannot be seen"),
        ({"host_lock_doubt": "a container with a lock of its own"}, "fair", "a container with a lock of its own"),
    ],
)  # fmt: skip
def test_each_fault_has_its_grade_and_its_reason(facts: dict[str, object], expected: str, reason: str) -> None:
    noise = grade(QUIET | facts)
    assert (noise.grade, noise.reasons) == (expected, [reason])


@pytest.mark.parametrize(
    ("cpus", "threads", "other", "expected"),
    [
        (2, 2, 0.05, "quiet"),
        (2, 2, 0.2, "fair"),  # this is a fifth of a core while every core is used
        (2, 2, 0.5, "noisy"),
        (2, 1, 0.3, "quiet"),  # the other work fits on the other cores, beside the one thread
        (2, 1, 0.9, "noisy"),  # this is an average, so at times it needs more than the free core
        (64, 64, 1.0, "noisy"),  # one busy core is 1.6 % of the machine, and is taken from a thread that all others wait for
        (64, 4, 1.0, "fair"),  # it has sixty free cores, and shares memory and power with the process
        (64, 4, 0.3, "quiet"),
        (64, 4, 40.0, "noisy"),
    ],
)
@pytest.mark.parametrize("when", ["other_cores", "other_cores_before"])
def test_other_work_is_judged_by_the_cores_that_it_leaves(cpus: int, threads: int, other: float, expected: str, when: str) -> None:
    quiet = QUIET | {"cpus": cpus, "cpus_allowed": cpus, "threads": threads, "cores_used": 0.9 * threads}
    assert grade(quiet | {when: other}).grade == expected


def test_other_work_is_told_in_cores() -> None:
    (reason,) = grade(QUIET | {"other_cores": 1.25}).reasons
    assert reason == "other work kept 1.2 cores busy while measuring, on 4 CPUs of which the process needed 4.0"


def test_the_worst_reason_comes_first() -> None:
    assert grade(QUIET | {"virtual": True, "steal": 0.5}).reasons[0].startswith("the hypervisor took 50.0%")
