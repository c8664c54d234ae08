"""The grade of the noise follows from facts, and the facts from the machine as it is."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import psutil
import pynvml
import pytest

from shared.clock import SystemClock
from worker.hardware.noise import NoiseProbe, grade, seen_on_gpu

QUIET: dict[str, Any] = {
    "busy_before": 0.01,
    "busy_by_others": 0.0,
    "steal": 0.0,
    "throttle_events": 0,
    "temperature_c_after": 60.0,
    "foreign_gpu_processes": [],
    "on_battery": False,
    "governor": "performance",
    "turbo": False,
    "virtual": False,
}


def test_a_machine_without_a_fault_is_quiet_and_needs_no_reason() -> None:
    noise = grade(QUIET)
    assert (noise.grade, noise.reasons) == ("quiet", [])
    assert noise.facts == QUIET


def test_what_is_not_known_speaks_for_nothing() -> None:
    assert grade(dict.fromkeys(QUIET)).grade == "quiet"


@pytest.mark.parametrize(
    ("fact", "value", "expected", "reason"),
    [
        ("busy_before", 0.1, "fair", "the CPU was 10% busy with other work just before"),
        ("busy_before", 0.5, "noisy", "the CPU was 50% busy with other work just before"),
        ("busy_by_others", 0.25, "noisy", "other work took 25% of the CPU while measuring"),
        ("steal", 0.01, "fair", "the hypervisor took 1.0% of the CPU"),
        ("steal", 0.05, "noisy", "the hypervisor took 5.0% of the CPU"),
        ("throttle_events", 3, "noisy", "the processor throttled 3 times"),
        ("temperature_c_after", 97.0, "noisy", "the processor was at 97 °C"),
        ("foreign_gpu_processes", [41, 42], "noisy", "other processes use the GPU: 41, 42"),
        ("on_battery", True, "noisy", "the device runs on its battery"),
        ("governor", "powersave", "fair", "the frequency governor is powersave"),
        ("turbo", True, "fair", "turbo is on: the frequency depends on heat and on the other cores"),
        ("virtual", True, "fair", "a virtual machine: its host's other work cannot be seen"),
    ],
)
def test_each_fault_has_its_grade_and_its_reason(fact: str, value: object, expected: str, reason: str) -> None:
    noise = grade({**QUIET, fact: value})
    assert (noise.grade, noise.reasons) == (expected, [reason])


def test_the_worst_reason_comes_first() -> None:
    assert grade({**QUIET, "virtual": True, "steal": 0.5}).reasons[0].startswith("the hypervisor took 50.0%")


def test_work_of_others_is_seen_and_our_own_is_not() -> None:
    """A process that keeps a core busy is noise to one probe; the other is told that it is ours. Both look at the same time.

    Their difference is the CPU time of that process over the time that all CPUs had, whatever else runs on this machine.
    """
    theirs, ours = NoiseProbe(SystemClock()), NoiseProbe(SystemClock())
    theirs.before("cpu.onnx")
    ours.before("cpu.onnx")
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        spent_s = 0.0
        while spent_s < 0.5 and time.monotonic() < began + 60:
            time.sleep(0.02)
            times = psutil.Process(process.pid).cpu_times()
            spent_s = times.user + times.system
        elapsed_s = time.monotonic() - began
        seen, hidden = theirs.after(0.0).facts["busy_by_others"], ours.after(spent_s).facts["busy_by_others"]
        process.kill()
    share = spent_s / (elapsed_s * (psutil.cpu_count() or 1))
    assert seen - hidden == pytest.approx(share, rel=0.2)


def test_a_probe_that_fails_costs_its_fact_alone_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise NotImplementedError("can't find current frequency file")

    for name in ("cpu_freq", "cpu_times", "sensors_battery", "sensors_temperatures"):
        monkeypatch.setattr(psutil, name, refuse)
    probe = NoiseProbe(SystemClock())
    probe.remember()
    for _ in range(2):
        probe.before("cpu.onnx")
        facts = probe.after(0.0).facts
    untold = ("frequency_mhz_before", "temperature_c_after", "on_battery", "busy_before", "busy_by_others", "steal")
    assert {name: facts[name] for name in untold} == dict.fromkeys(untold)
    assert facts["cpus"] == psutil.cpu_count()
    assert caplog.text.count("this device does not tell its frequency: NotImplementedError: can't find") == 1


def test_a_driver_that_does_not_say_who_uses_the_gpu_is_no_word_that_nobody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    probe = NoiseProbe(SystemClock())
    probe.before("gpu.cuda.onnx")
    assert probe.after(0.0).facts["foreign_gpu_processes"] is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [({1}, {2}, [1, 2]), (set(), set(), []), (None, {2}, [2]), (set(), None, None), (None, None, None)],
)
def test_one_look_at_the_gpu_tells_who_is_there_and_only_two_that_nobody_is(
    before: set[int] | None, after: set[int] | None, told: list[int] | None
) -> None:
    assert seen_on_gpu(*(None if look is None else frozenset(look) for look in (before, after))) == told


def test_a_look_after_needs_a_look_before() -> None:
    with pytest.raises(RuntimeError, match="without a look before"):
        NoiseProbe(SystemClock()).after(0.0)
