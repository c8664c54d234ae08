"""Tests CPU quotas as both versions of control groups write them, and one quota that is really set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.control_groups import CpuQuota
from tests.measuring import NO_WARMUP, Stages, assignment, descendants, schedule, supervisor
from worker.hardware.quota import cores_allowed, parse_cpu_max, parse_cpu_stat, read_quotas, throttling_between

# The kernel writes the files in this form. Version 2 has more lines, which are not needed here.
STAT_2 = "usage_usec 21063240\nuser_usec 20000000\nnr_periods 294\nnr_throttled 277\nthrottled_usec 13770512\nnr_bursts 0\n"
STAT_1 = "nr_periods 294\nnr_throttled 277\nthrottled_time 13770512345\n"
MOUNT_2 = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNT_1 = (
    "33 31 0:30 {top} /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,nosuid shared:12 - cgroup cgroup rw,cpuset\n"
)


def machine(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/7/cgroup": cgroup, "proc/7/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_smallest_quota_of_all_groups_counts_in_version_2(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/system.slice"
    root = machine(
        tmp_path,
        "0::/system.slice/worker.service\n",
        MOUNT_2,
        {f"{base}/worker.service/cpu.max": "max 100000\n", f"{base}/cpu.max": "150000 100000\n", f"{base}/cpu.stat": STAT_2},
    )
    (group,) = read_quotas(7, root)
    assert (group.cores, group.periods, group.throttled) == (1.5, 294, 277)
    assert group.throttled_s == pytest.approx(13.770512)
    assert cores_allowed(read_quotas(7, root)) == 1.5


def test_version_1_keeps_the_quota_in_two_files(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/cpu,cpuacct"
    files = {
        f"{base}/docker/abc/cpu.cfs_quota_us": "50000\n", f"{base}/docker/abc/cpu.cfs_period_us": "100000\n",
        f"{base}/docker/abc/cpu.stat": STAT_1,
        f"{base}/cpu.cfs_quota_us": "-1\n", f"{base}/cpu.cfs_period_us": "100000\n",
    }  # fmt: skip
    root = machine(tmp_path, "5:cpu,cpuacct:/docker/abc\n4:cpuset:/\n0::/docker/abc\n", MOUNT_1.format(top="/"), files)
    (group,) = read_quotas(7, root)
    assert (group.cores, group.periods, group.throttled) == (0.5, 294, 277)
    assert group.throttled_s == pytest.approx(13.770512345)


def test_a_container_sees_the_hosts_path_and_its_own_part_of_the_tree(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/cpu,cpuacct"
    files = {f"{base}/cpu.cfs_quota_us": "200000\n", f"{base}/cpu.cfs_period_us": "100000\n", f"{base}/cpu.stat": STAT_1}
    root = machine(tmp_path, "5:cpu,cpuacct:/docker/abc\n", MOUNT_1.format(top="/docker/abc"), files)
    assert cores_allowed(read_quotas(7, root)) == 2.0


def test_no_quota_is_no_quota(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", MOUNT_2, {"sys/fs/cgroup/cpu.stat": "usage_usec 5\n"})
    assert read_quotas(7, root) == ()
    assert cores_allowed(()) is None
    assert read_quotas(7, tmp_path / "nothing") == ()  # there is no /proc, as on other systems
    assert throttling_between((), ()) is None


@pytest.mark.parametrize(("text", "cores"), [("max 100000\n", None), ("50000 100000\n", 0.5), ("400000 100000\n", 4.0), ("25000\n", 0.25)])
def test_cpu_max_is_a_quota_and_a_period(text: str, cores: float | None) -> None:
    assert parse_cpu_max(text) == cores


def test_both_forms_of_cpu_stat_say_the_same() -> None:
    assert parse_cpu_stat(STAT_2)[:2] == parse_cpu_stat(STAT_1)[:2] == (294, 277)


def throttled(group: CpuQuota) -> int:
    (line,) = [line for line in (group.folder / "cpu.stat").read_text().splitlines() if line.startswith("nr_throttled ")]
    return int(line.split()[1])


@pytest.mark.cgroups
def test_a_process_under_a_tenth_of_a_core_is_seen_to_be_stopped() -> None:
    """The burner wants a whole core, so it is stopped in nearly every period of a tenth of a second, however busy this machine is."""
    code = "import sys, time\nsys.stdin.readline()\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    with (
        CpuQuota(f"fleetmark-test-{os.getpid()}") as group,
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process,
    ):
        group.limit(0.1)
        group.add(process.pid)
        before = read_quotas(process.pid)
        assert cores_allowed(before) == 0.1
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.wait()
        group.add(os.getpid())  # the group is read through a process that runs
        step = throttling_between(before, read_quotas(os.getpid()))
        Path(group.folder.parent / "cgroup.procs").write_text(str(os.getpid()))
        assert step is not None
        assert step.throttled == throttled(group)
        assert step.throttled > 5
        assert step.throttled_s > 0.2


@pytest.mark.cgroups
def test_a_measurement_under_a_quota_is_noisy_and_says_why(tmp_path: Path) -> None:
    others = set(descendants(os.getpid()))
    with supervisor(tmp_path) as made, CpuQuota(f"fleetmark-test-guard-{os.getpid()}") as group:
        (guard,) = set(descendants(os.getpid())) - others
        group.limit(0.2)
        group.add(guard)
        before = throttled(group)
        outcome = made.run(assignment(schedule(tmp_path, calls_s=[0.0144]), inferences=60, warmup=NO_WARMUP), Stages())
        seen = throttled(group) - before
    assert outcome.status == "complete", outcome.error
    assert outcome.noise is not None
    assert outcome.noise.grade == "noisy"
    assert outcome.noise.facts["quota_cores"] == 0.2
    assert 0 < outcome.noise.facts["throttled_periods"] <= seen
    assert any(reason.startswith("the CPU quota of 0.2 cores stopped the process in ") for reason in outcome.noise.reasons)
