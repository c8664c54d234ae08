"""Tests the probe on this machine: what it measures, what it leaves out, and the effect of a failing sensor."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pynvml
import pytest

from shared.clock import SystemClock
from worker.hardware import noise_probe
from worker.hardware.gpu_state import seen_on_gpu
from worker.hardware.noise_probe import Measured, NoiseProbe

ME = os.getpid()


def test_a_core_that_somebody_else_keeps_busy_is_seen() -> None:
    probe = NoiseProbe(SystemClock())
    probe.before("cpu.onnx", ME, {})
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        spent_s = _burnt(process.pid, 0.5)
        facts = probe.after(Measured()).facts
        elapsed_s = time.monotonic() - began
        process.kill()
    assert facts["other_cores"] > 0.8 * spent_s / elapsed_s  # other programs on this machine add to this


def test_what_a_worker_does_when_it_starts_is_no_noise_of_its_first_job() -> None:
    """The guard's imports are such work. Both probes look at the same time, but only one of them knows that the guard is its own."""
    ours, theirs = NoiseProbe(SystemClock()), NoiseProbe(SystemClock())
    burn = "import sys, time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE) as guard:
        ours.remember(guard.pid)
        theirs.remember(ME)
        began, before_s = time.monotonic(), sum(psutil.Process(guard.pid).cpu_times()[:2])
        spent_s = _burnt(guard.pid, 0.5) - before_s
        ours.before("cpu.onnx", guard.pid, {})
        theirs.before("cpu.onnx", ME, {})
        elapsed_s = time.monotonic() - began
        hidden, seen = (one.after(Measured()).facts["other_cores_before"] for one in (ours, theirs))
        guard.communicate()
    assert seen - hidden == pytest.approx(spent_s / elapsed_s, rel=0.35)


def _burnt(pid: int, wanted_s: float) -> float:
    """Wait until a process has used this much CPU time, and return its CPU time."""
    until = time.monotonic() + 60
    while (spent_s := sum(psutil.Process(pid).cpu_times()[:2])) < wanted_s and time.monotonic() < until:
        time.sleep(0.02)
    return float(spent_s)


def test_a_probe_that_fails_costs_its_fact_alone_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError("can't find current frequency file")

    for name in ("read_mhz", "read_heat", "read_quotas", "look"):
        monkeypatch.setattr(noise_probe, name, refuse)
    probe = NoiseProbe(SystemClock())
    probe.remember(ME)
    for _ in range(2):
        probe.before("cpu.onnx", ME, {"steering": {"OMP_NUM_THREADS": "2"}})
        probe.during()
        noise = probe.after(Measured(cpu_s=1.0, threads=1))
    untold = (
        "mhz_under_load_min",
        "temperature_c_max",
        "throttle_events",
        "throttled_periods",
        "other_cores_before",
        "other_cores",
        "steal",
    )
    assert {name: noise.facts[name] for name in untold} == dict.fromkeys(untold)
    assert noise.facts["cpus"] == psutil.cpu_count()
    assert noise.facts["steering"] == {"OMP_NUM_THREADS": "2"}
    assert caplog.text.count("this device does not tell its clock: NotImplementedError: can't find") == 1


def test_the_clock_is_read_under_load_and_the_cpus_are_those_that_the_process_may_use() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as guard:
        os.sched_setaffinity(guard.pid, {min(os.sched_getaffinity(0))})
        probe = NoiseProbe(SystemClock())
        probe.before("cpu.onnx", guard.pid, {})
        probe.during()
        noise = probe.after(Measured(cpu_s=0.0, threads=os.cpu_count()))
        guard.communicate()
    assert noise.facts["cpus_allowed"] == 1
    assert noise.facts["mhz_under_load_max"] == noise.facts["mhz_under_load_min"]
    assert f"the runtime computed with {os.cpu_count()} threads on 1 of {os.cpu_count()} CPUs that the process may use" in noise.reasons


def test_if_the_driver_does_not_list_processes_it_is_unknown_whether_any_uses_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    probe = NoiseProbe(SystemClock())
    probe.before("gpu.cuda.onnx", ME, {})
    probe.during()
    assert probe.after(Measured()).facts["foreign_gpu_processes"] is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [({1}, {2}, [1, 2]), (set(), set(), []), (None, {2}, [2]), (set(), None, None), (None, None, None)],
)
def test_one_look_can_show_a_process_on_the_gpu_and_only_two_can_show_that_there_is_none(
    before: set[int] | None, after: set[int] | None, told: list[int] | None
) -> None:
    assert seen_on_gpu(*(None if look is None else frozenset(look) for look in (before, after))) == told


def test_a_look_after_needs_a_look_before() -> None:
    with pytest.raises(RuntimeError, match="without a look before"):
        NoiseProbe(SystemClock()).after(Measured())
