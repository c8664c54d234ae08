"""Tests that every worker of a host finds the same lock, whatever its user and its environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.supervisor.lock_place import NAME, lock_place

ROOT = Path(__file__).parents[4]
OVERLAY = "1 0 0:50 / / rw - overlay overlay rw,lowerdir=/a\n"


def host(root: Path, *folders: str, mode: int = 0o1777, mounts: str = "") -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder).chmod(mode)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mounts)
    return root


def test_the_place_does_not_depend_on_the_temporary_folder(tmp_path: Path) -> None:
    code = "from worker.supervisor.lock_place import lock_place; print(lock_place(None).path)"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"TMPDIR": str(folder), "PATH": "/bin"}, capture_output=True, text=True, check=True
        ).stdout
        for folder in (tmp_path, "/var/tmp")
    }
    assert len(told) == 1
    assert str(tmp_path) not in told.pop()


@pytest.mark.parametrize(
    ("folders", "chosen"), [(("run/lock", "tmp"), "run/lock"), (("var/lock", "tmp"), "var/lock"), (("tmp",), "tmp"), ((), "tmp")]
)
def test_the_first_folder_that_is_there_for_everybody_is_taken(tmp_path: Path, folders: tuple[str, ...], chosen: str) -> None:
    place = lock_place(None, host(tmp_path, *folders))
    assert (place.path, place.doubt) == (tmp_path / chosen / NAME, "")


def test_a_folder_that_only_root_may_write_into_is_passed_over_by_root_too(tmp_path: Path) -> None:
    """Fedora does this. Otherwise the worker of root and the workers of other users would take two different locks."""
    root = host(tmp_path, "run/lock", mode=0o755)
    host(tmp_path / "rest", "tmp")
    (root / "tmp").mkdir(mode=0o777)
    (root / "tmp").chmod(0o1777)
    assert lock_place(None, root).path == tmp_path / "tmp" / NAME


def test_a_container_says_that_its_lock_is_its_own(tmp_path: Path) -> None:
    root = host(tmp_path, "tmp", mounts=OVERLAY)
    (root / ".dockerenv").touch()
    place = lock_place(None, root)
    assert place.path == tmp_path / "tmp" / NAME
    assert "another worker of this host may have measured at the same time" in place.doubt
    assert "with the host" in place.doubt


@pytest.mark.parametrize("mounted", ["/run/lock", f"/run/lock/{NAME}"])
def test_a_container_that_was_given_the_hosts_folder_or_file_has_no_doubt(tmp_path: Path, mounted: str) -> None:
    root = host(tmp_path, "run/lock", mounts=OVERLAY + f"9 1 0:26 / {mounted} rw - tmpfs tmpfs rw\n")
    (root / ".dockerenv").touch()
    assert lock_place(None, root).doubt == ""


def test_a_file_that_the_settings_name_is_taken(tmp_path: Path) -> None:
    root = host(tmp_path, "run/lock")
    assert lock_place(tmp_path / "mine", root).path == tmp_path / "mine"
