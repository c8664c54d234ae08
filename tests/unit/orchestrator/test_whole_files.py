"""Tests how partial files of living and of dead writers are told apart."""

from __future__ import annotations

import fcntl
from pathlib import Path

from orchestrator.whole_files import remove_left_behind, whole_file
from tests.halves import being_written


def test_a_half_stays_while_its_writer_lives_and_goes_when_it_is_dead(tmp_path: Path) -> None:
    whole, part = tmp_path / "run.json", tmp_path / ".run.json.1.part"
    whole.write_bytes(b"{}")
    with being_written(part):
        remove_left_behind(whole)
        assert part.read_bytes() == b"half"
    remove_left_behind(whole)
    assert not part.exists()


def test_a_file_is_locked_for_as_long_as_it_has_not_its_name(tmp_path: Path) -> None:
    with whole_file(tmp_path / "run.json") as file:
        (part,) = tmp_path.glob("*.part")
        with part.open("rb") as other:
            locked = False
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked = True
        assert locked
        file.write(b"{}")
        remove_left_behind(part)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert (tmp_path / "run.json").read_bytes() == b"{}"
