from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from worker.hardware.surroundings import in_container, mount_points, on_battery

OVERLAY = "1 0 0:50 / / rw - overlay overlay rw,lowerdir=/a\n"
DISK = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"


@pytest.mark.parametrize(
    ("files", "inside"),
    [
        ({".dockerenv": "", "proc/self/mountinfo": OVERLAY}, True),
        ({"run/.containerenv": "", "proc/self/mountinfo": OVERLAY}, True),
        ({"proc/1/cgroup": "0::/kubepods/besteffort/pod1\n", "proc/self/mountinfo": OVERLAY}, True),
        ({"proc/1/cgroup": "0::/\n", "proc/1/comm": "python\n", "proc/self/mountinfo": OVERLAY}, True),  # this is Kubernetes on containerd
        ({"proc/1/cgroup": "0::/init.scope\n", "proc/1/comm": "systemd\n", "proc/self/mountinfo": OVERLAY}, False),  # this is a live system
        ({"proc/1/cgroup": "0::/init.scope\n", "proc/1/comm": "systemd\n", "proc/self/mountinfo": DISK}, False),
        ({".dockerenv": "", "proc/self/mountinfo": DISK}, False),  # this is a virtual machine that was made from an image
        ({}, False),
    ],
)
def test_a_container_is_told_from_a_machine(tmp_path: Path, files: dict[str, str], inside: bool) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert in_container(tmp_path) is inside


def test_mount_points_with_spaces_are_read(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(DISK + "40 27 0:40 / /run/my\\040lock rw - tmpfs tmpfs rw\n")
    assert mount_points(tmp_path) == {"/", "/run/my lock"}


@pytest.mark.skipif(not psutil.LINUX, reason="psutil reads this folder on Linux")
def test_a_device_without_the_folder_of_batteries_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil._pslinux.POWER_SUPPLY_PATH", str(tmp_path / "power_supply"))
    assert on_battery() is None
