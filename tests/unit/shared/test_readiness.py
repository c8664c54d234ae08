from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from shared.errors import InvalidInput, Unavailable
from shared.readiness import failed_checks, require_writable


def test_all_checks_run_at_once_and_one_that_hangs_is_told() -> None:
    together, forever = threading.Barrier(2), threading.Event()

    def meets() -> None:
        together.wait(30)

    def complains() -> None:
        together.wait(30)
        raise InvalidInput("the folder is full")

    begun = time.monotonic()
    errors = failed_checks({"a": meets, "the database lab:5432/fleet": forever.wait, "b": complains}, patience_s=0.5)
    forever.set()
    assert [(type(error), error.detail) for error in errors] == [
        (Unavailable, "the database lab:5432/fleet does not answer within 0.5 s"),
        (InvalidInput, "the folder is full"),
    ]
    assert time.monotonic() - begun < 20


def test_a_defect_of_a_check_is_raised() -> None:
    def defect() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        failed_checks({"this": defect}, patience_s=30)


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder", "FLEETMARK_OUTPUTS_DIR")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


@pytest.mark.parametrize("kind", ["below a file", "a full disk"])
def test_a_folder_that_takes_no_file_names_its_variable(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "inner" if kind == "below a file" else Path("/proc/self")  # root may write to any real folder
    with pytest.raises(InvalidInput, match=r"cannot be written: .*set FLEETMARK_OUTPUTS_DIR"):
        require_writable(folder, "FLEETMARK_OUTPUTS_DIR")
