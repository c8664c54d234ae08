"""Tests limits of memory as both versions of control groups write them."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.unit.worker.hardware.test_quota import MOUNT_2, machine
from worker.hardware.free_memory import free_memory_bytes
from worker.hardware_tests import cpu_bandwidth
from worker.hardware_tests.base import Share

MB = 2**20
MOUNT_1 = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory\n"


def test_the_group_that_leaves_least_counts_and_what_the_kernel_can_give_back_is_left(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/lab.slice"
    files = {
        f"{base}/worker/memory.max": f"{512 * MB}\n",
        f"{base}/worker/memory.current": f"{500 * MB}\n",
        f"{base}/worker/memory.stat": f"anon 1\ninactive_file {100 * MB}\n",
        f"{base}/memory.max": "max\n",
        f"{base}/memory.current": f"{900 * MB}\n",
    }
    assert free_memory_bytes(7, machine(tmp_path, "0::/lab.slice/worker\n", MOUNT_2, files)) == 112 * MB


@pytest.mark.parametrize(("limit", "left"), [(64 * MB, 24 * MB), (9_223_372_036_854_771_712, None), (30 * MB, 0)])
def test_a_limit_of_version_1_is_read_and_its_huge_number_is_none(tmp_path: Path, limit: int, left: int | None) -> None:
    base = "sys/fs/cgroup/memory/worker"
    files = {f"{base}/memory.limit_in_bytes": f"{limit}\n", f"{base}/memory.usage_in_bytes": f"{40 * MB}\n"}
    free = free_memory_bytes(7, machine(tmp_path, "9:memory:/worker\n", MOUNT_1, files))
    assert free == left if left is not None else free > psutil.virtual_memory().available / 2


def test_without_groups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert free_memory_bytes(7, tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_test_of_the_device_keeps_within_the_limit_of_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the process would be killed, and the figures of all tests with it."""
    monkeypatch.setattr(cpu_bandwidth, "free_memory_bytes", lambda: 100 * MB)
    readings = cpu_bandwidth.CpuBandwidth().run(Share(0.1)).readings
    assert all(reading.value is None and "half of the free memory (100 MB)" in reading.missing for reading in readings)
