from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from shared.clock import SystemClock
from worker.hardware import load
from worker.hardware.load import CpuTime, Look, other_cores, parse_stat, relatives_of, steal_share

STAT = """cpu  430 20 90 900 60 4 6 30 100 0
cpu0 400 20 80 100 50 4 6 30 100 0
cpu3 30 0 10 800 10 0 0 0 0 0
intr 12345
ctxt 999
"""


def test_the_kernels_ticks_become_seconds_by_number_of_the_cpu() -> None:
    cpus = parse_stat(STAT, ticks_per_s=100)
    assert set(cpus) == {0, 3}  # CPUs that are offline have no line
    assert (cpus[0].busy_s, cpus[0].steal_s, cpus[0].total_s) == pytest.approx((5.1, 0.3, 6.9))
    assert cpus[3].busy_s == pytest.approx(0.4)


def seen(at: float, busy_s: float, steal_s: float, total_s: float, ours: dict[int, float], relatives: dict[int, float]) -> Look:
    return Look(at, CpuTime(busy_s, steal_s, total_s), ours, relatives)


def test_other_cores_are_what_is_busy_less_what_is_ours() -> None:
    before = seen(100.0, 50.0, 1.0, 400.0, {1: 10.0}, {7: 2.0})
    after = seen(110.0, 75.0, 3.0, 440.0, {1: 22.0, 2: 3.0}, {7: 4.0, 8: 1.0})
    # The CPUs were busy for 25 s within 10 s. This worker and its guard used 15 s, the parts beside it used 3 s, and other processes used
    # the rest.
    assert other_cores(before, after, 0.0, relatives_are_ours=False) == pytest.approx(1.0)
    assert other_cores(before, after, 0.0, relatives_are_ours=True) == pytest.approx(0.7)
    assert other_cores(before, after, 4.0, relatives_are_ours=True) == pytest.approx(0.3)
    assert steal_share(before, after) == pytest.approx(0.05)


def test_other_work_is_never_more_than_the_cpus_there_are() -> None:
    """The second look was delayed between reading the clock and reading the CPUs. It saw 2.2 s of CPU time in a window of 1 s on 2 CPUs."""
    before, after = Look(10.0, CpuTime(100.0, 0.0, 200.0, 2), {}, {}), Look(11.0, CpuTime(102.2, 0.0, 202.4, 2), {}, {})
    assert other_cores(before, after, 0.0, relatives_are_ours=False) == 2.0


def test_a_window_in_which_no_clock_ticked_tells_nothing() -> None:
    one = seen(100.0, 50.0, 1.0, 400.0, {}, {})
    assert other_cores(one, one, 0.0, relatives_are_ours=True) is None
    assert steal_share(one, one) is None
    assert other_cores(None, one, 0.0, relatives_are_ours=True) is None


@pytest.fixture
def burner() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_a_process_that_is_named_as_ours_is_no_other_work(burner: psutil.Process) -> None:
    """The same window is judged twice. Other processes are in both judgements, so the difference is the CPU time of this process."""
    clock = SystemClock()

    def used_s() -> float:
        return sum(burner.cpu_times()[:2])

    outer = used_s()
    before = load.look(clock, None, {os.getpid()}, {burner.pid})
    inner, until = used_s(), time.monotonic() + 30
    while used_s() - inner < 1.0 and time.monotonic() < until:
        time.sleep(0.01)
    least_s = used_s() - inner
    after = load.look(clock, None, {os.getpid()}, {burner.pid})
    most_s = used_s() - outer
    assert least_s >= 1.0
    # No judgement exceeds the number of CPUs, which other programs may keep busy. So these looks say that there are many.
    before, after = (replace(one, cpus=replace(one.cpus, count=1_000)) for one in (before, after))
    shown, hidden = (other_cores(before, after, 0.0, relatives_are_ours=ours) for ours in (False, True))
    assert shown is not None
    assert hidden is not None
    assert least_s - 0.05 <= (shown - hidden) * (after.at - before.at) <= most_s + 0.05


def test_children_that_have_ended_count_as_ours() -> None:
    """The guard's imports and the probes of the execution providers cause such load when a worker starts."""
    clock = SystemClock()
    before = load.look(clock, None, {os.getpid()}, ())
    subprocess.run(
        [sys.executable, "-c", "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"], check=True
    )
    after = load.look(clock, None, {os.getpid()}, ())
    assert after.ours_s[os.getpid()] - before.ours_s[os.getpid()] >= 0.5


def test_a_worker_that_was_started_alone_has_no_relatives() -> None:
    assert relatives_of(os.getpid()) == frozenset()


def test_the_parts_that_one_start_brought_up_are_relatives(tmp_path: object) -> None:
    """`fleetmark up` starts each part on a tether, so the parts are children of one process."""
    from cli.parts import TETHER

    nap = [sys.executable, "-c", "import time; time.sleep(60)"]
    tethered = [sys.executable, "-I", "-S", str(TETHER), "1"]
    starter = (
        "import subprocess, sys\n"
        f"parts = [subprocess.Popen({[*tethered, *nap]!r}, stdin=subprocess.PIPE) for _ in range(2)]\n"
        "print('up', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as up:
        assert up.stdout is not None
        assert up.stdout.readline() == b"up\n"
        until = time.monotonic() + 30
        while len(psutil.Process(up.pid).children(recursive=True)) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        family = {child.pid for child in psutil.Process(up.pid).children(recursive=True)}
        (part, _) = [
            child
            for child in psutil.Process(up.pid).children(recursive=True)
            if "time.sleep" in child.cmdline()[-1] and "tether" not in str(child.cmdline())
        ]
        assert relatives_of(part.pid) == {up.pid, *family} - {part.pid}
        up.communicate()
