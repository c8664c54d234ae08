from __future__ import annotations

import errno
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.protocol.messages import Artifact
from tests.unit.worker.results import CAMPAIGN, result
from worker.spool import FIRST_RESEND_S, LAST_RESEND_S, LATER_S, MEMORY_BYTES, SOON_S, Spool

JOB = f"{CAMPAIGN}-job-1"


def _large(content: bytes) -> dict[str, Artifact]:
    return {"samples.npz": Artifact(sha256=hashlib.sha256(content).hexdigest(), size=len(content))}


def test_a_result_outlives_the_process_with_its_attachments(tmp_path: Path) -> None:
    written = result(artifacts=_large(b"samples"))
    Spool(tmp_path).write(written, {"samples.npz": b"samples"})
    (entry,) = Spool(tmp_path).entries()
    assert entry.result == written
    attached = entry.attachments["samples.npz"]
    assert isinstance(attached, Path)
    assert attached.read_bytes() == b"samples"
    assert entry.due == 0  # it is sent again at once


def test_a_folder_that_cannot_be_synced_leaves_no_message_without_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rename of the message succeeds, and the sync of its folder fails."""
    # the calls are for the file and the folder of the samples, and then for those of the message
    real, failures = os.fsync, iter([False, False, False, True])

    def fsync(descriptor: int) -> None:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        real(descriptor)

    spool, sent = Spool(tmp_path), result(artifacts=_large(b"samples"))
    monkeypatch.setattr(os, "fsync", fsync)
    entry = spool.keep(sent, {"samples.npz": b"samples"})
    assert entry is not None
    assert entry.path is None, "it is held in memory, whole"
    assert entry.attachments == {"samples.npz": b"samples"}
    assert list(tmp_path.iterdir()) == []
    assert Spool(tmp_path).entries() == []
    settled = spool.settle(entry)
    assert settled.path is not None
    assert (tmp_path / f"{settled.path.stem}.samples.npz").read_bytes() == b"samples"


def test_an_answered_result_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(result(artifacts=_large(b"samples")), {"samples.npz": b"samples"})
    spool.answered((JOB, 1))
    assert list(tmp_path.iterdir()) == []
    assert (JOB, 1) not in spool
    spool.answered((JOB, 1))  # a second answer changes nothing


def test_attempts_of_one_job_are_kept_apart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write(result(attempt=1), {})
    spool.write(result(attempt=2), {})
    spool.answered((JOB, 1))
    assert Spool(tmp_path).keys() == [(JOB, 2)]


def test_a_new_entry_is_not_due_before_its_writer_has_sent_it(tmp_path: Path) -> None:
    entry = Spool(tmp_path).write(result(), {})
    assert entry.due > 1e12
    entry.sent(now=100.0)
    assert entry.due == 100.0 + FIRST_RESEND_S


def test_a_message_that_its_writer_is_sending_over_a_dead_connection_is_sent_by_another(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = spool.write(result(), {})
    assert entry.due > 1e12
    spool.hurry()
    assert entry.due == 0.0


def test_files_that_their_writer_is_sending_are_not_sent_by_another_at_the_same_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    entry = spool.write(result(artifacts=_large(b"samples")), {"samples.npz": b"samples"})
    spool.hurry()  # the broker comes back while the entry is being sent
    assert entry.due > 1e12
    entry.failed(now=100.0)
    spool.hurry()
    assert entry.due == 0.0


def test_sending_again_waits_longer_each_time_up_to_ten_minutes(tmp_path: Path) -> None:
    entry = Spool(tmp_path).write(result(), {})
    waits = []
    for _ in range(7):
        entry.sent(now=0.0)
        waits.append(entry.due)
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert waits[-1] == LAST_RESEND_S
    entry.hurry()
    assert entry.due == 0.0
    entry.sent(now=0.0)
    assert entry.due == FIRST_RESEND_S


def test_what_cannot_be_read_is_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "torn.json").write_text('{"kind": "result"')
    Spool(tmp_path).write(result(), {})
    with caplog.at_level(logging.ERROR):
        assert Spool(tmp_path).keys() == [(JOB, 1)]
    assert (tmp_path / "torn.unreadable").exists()
    assert "torn.json" in caplog.text


def test_what_is_set_aside_keeps_its_samples_for_a_version_that_can_read_it(tmp_path: Path) -> None:
    entry = Spool(tmp_path).write(result(artifacts=_large(b"samples")), {"samples.npz": b"samples"})
    assert entry.path is not None
    readable = entry.path.read_text()
    entry.path.write_text(readable.replace('"format":1', '"format":2'))
    for _ in range(2):  # the first start sets the file aside, and the second one comes after it
        assert Spool(tmp_path).keys() == []
    assert (tmp_path / f"{JOB}.1.samples.npz").read_bytes() == b"samples"
    (tmp_path / f"{JOB}.1.unreadable").rename(entry.path)
    entry.path.write_text(readable)
    assert Spool(tmp_path).keys() == [(JOB, 1)]


def test_a_result_that_cannot_be_read_from_the_disk_keeps_no_worker_from_starting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"{JOB}.1.json").mkdir()  # root may read any file, so a folder is in the place of the file
    (tmp_path / f"{JOB}.1.samples.npz").write_bytes(b"samples")
    Spool(tmp_path).write(result(2), {})
    assert Spool(tmp_path).keys() == [(f"{CAMPAIGN}-job-2", 1)]
    assert "cannot be read, and is left where it is" in caplog.text
    assert (tmp_path / f"{JOB}.1.samples.npz").exists()


def test_half_written_files_of_a_dead_process_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".campaign.json.123.part").write_text("half")
    for name in ("samples.npz", "telemetry.npz", "requests.bin", "log.jsonl"):
        (tmp_path / f"{JOB}.1.{name}").write_bytes(b"an attachment whose message was never written")
    Spool(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_an_error_that_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk. The write itself fails, in a process of its own."""
    script = """
import resource, signal, sys
from pathlib import Path
from tests.unit.worker.results import result
from worker.spool import Spool
spool = Spool(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    spool.write(result(), {"samples.npz": b"x" * 1_000_000})
except OSError as error:
    print("refused:", error.strerror, spool.keys())
"""
    root = Path(__file__).parents[3]
    child = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert child.stdout.startswith("refused:"), child.stderr
    assert child.stdout.strip().endswith("[]")
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_does_not_take_is_held_in_memory_and_written_when_it_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    folder.rmdir()
    entry = spool.keep(result(artifacts=_large(b"samples")), {"samples.npz": b"samples"})
    assert entry is not None
    assert "lost if this process ends before" in caplog.text
    assert (spool.keys(), entry.path, entry.attachments) == ([(JOB, 1)], None, {"samples.npz": b"samples"})
    entry.sent(now=100.0)
    assert spool.settle(entry) is entry, "there is still no folder"
    folder.mkdir()
    settled = spool.settle(entry)
    assert (settled.due, settled.wait_s) == (entry.due, entry.wait_s)
    assert Spool(folder).keys() == [(JOB, 1)]
    spool.answered((JOB, 1))
    assert list(folder.iterdir()) == []


def test_memory_is_no_disk_and_takes_only_so_much(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = Spool(folder)
    folder.rmdir()
    half = bytes(MEMORY_BYTES // 2)
    assert spool.keep(result(attempt=1), {"samples.npz": half}) is not None
    assert spool.keep(result(attempt=2), {"samples.npz": half}) is not None
    assert spool.keep(result(attempt=3), {"samples.npz": half}) is None
    spool.answered((JOB, 1))
    assert spool.keep(result(attempt=4), {"samples.npz": half}) is not None


def test_a_try_that_failed_is_followed_by_another_soon_and_then_by_rarer_ones(tmp_path: Path) -> None:
    entry = Spool(tmp_path).write(result(), {})
    entry.sent(now=100.0)
    waits = []
    for _ in range(6):
        entry.failed(now=0.0)
        waits.append(entry.due)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert (waits[0], waits[-1]) == (SOON_S, LATER_S)
    entry.sent(now=0.0)
    entry.failed(now=0.0)
    assert entry.due == SOON_S


def test_a_large_file_gets_a_second_name_in_the_spool_and_is_never_read_into_memory(tmp_path: Path) -> None:
    large = tmp_path / "runs" / "requests.bin"
    large.parent.mkdir()
    large.write_bytes(b"records")
    spool = Spool(tmp_path / "spool")
    entry = spool.keep(result(artifacts=_large(b"records")), {"requests.bin": large})
    assert entry is not None
    kept = entry.attachments["requests.bin"]
    assert isinstance(kept, Path)
    assert kept.stat().st_ino == large.stat().st_ino
    large.unlink()
    assert kept.read_bytes() == b"records"
    spool.answered(entry.key)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_large_file_of_another_file_system_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    large = tmp_path / "requests.bin"
    large.write_bytes(b"records")
    entry = Spool(tmp_path / "spool").write(result(), {"requests.bin": large})
    kept = entry.attachments["requests.bin"]
    assert isinstance(kept, Path)
    assert (kept.read_bytes(), large.read_bytes()) == (b"records", b"records")
