from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from worker.hardware.identity import IDENTITY_FILE, LOCK_FILE, Identity, IdentityError, known_udid, lock_holder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the lock is POSIX")


def test_a_device_keeps_its_identity_across_starts(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path / "state", "one")
    first.close()
    second = Identity.claim(tmp_path / "state", "two")
    second.close()
    assert second.udid == first.udid == known_udid(tmp_path / "state")


def test_two_devices_are_two(tmp_path: Path) -> None:
    one, other = Identity.claim(tmp_path / "a", "i"), Identity.claim(tmp_path / "b", "i")
    assert one.udid != other.udid
    one.close()
    other.close()


def test_a_restarted_worker_can_name_its_dead_predecessor(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path, "one")
    assert first.previous_incarnation == ""
    first.close()
    second = Identity.claim(tmp_path, "two")
    second.close()
    assert second.previous_incarnation == "one"


def test_a_copied_folder_has_the_identity_without_the_proof(tmp_path: Path) -> None:
    Identity.claim(tmp_path / "original", "one").close()
    shutil.copytree(tmp_path / "original", tmp_path / "clone")
    clone = Identity.claim(tmp_path / "clone", "two")
    clone.close()
    assert clone.udid == known_udid(tmp_path / "original")
    assert clone.previous_incarnation == ""


def test_a_second_worker_with_the_same_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path, "one")
    with pytest.raises(IdentityError, match="FLEETMARK_WORKER_STATE_DIR"):
        Identity.claim(tmp_path, "two")
    assert lock_holder(tmp_path / LOCK_FILE) != ""
    first.close()
    assert lock_holder(tmp_path / LOCK_FILE) == ""


def test_a_worker_that_starts_while_another_process_looks_is_not_refused(tmp_path: Path) -> None:
    """`fleetmark worker validate` is such a process. It takes a shared lock for a moment."""
    (tmp_path / LOCK_FILE).touch()
    look = os.open(tmp_path / LOCK_FILE, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [look]).start()
    Identity.claim(tmp_path, "one").close()


@pytest.mark.parametrize("content", ["{torn", "[]", '{"format": 99, "udid": "x"}'])
def test_a_damaged_identity_is_an_error_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / IDENTITY_FILE).write_text(content)
    with pytest.raises(IdentityError, match="delete it"):
        Identity.claim(tmp_path, "one")
    assert (tmp_path / IDENTITY_FILE).read_text() == content
    assert lock_holder(tmp_path / LOCK_FILE) == ""


def test_the_identity_on_disk_names_its_format(tmp_path: Path) -> None:
    Identity.claim(tmp_path, "one").close()
    assert json.loads((tmp_path / IDENTITY_FILE).read_text())["format"] == 1
