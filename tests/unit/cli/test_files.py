from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.files import write_whole
from shared.errors import InvalidInput


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_bytes(b"earlier")

    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError(5, "the connection broke")

    with pytest.raises(InvalidInput, match=r"results\.csv cannot be written: the connection broke"):
        write_whole(file, broken())
    assert file.read_bytes() == b"earlier"
    write_whole(file, [b"new", b"er"])
    assert file.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path: Path) -> None:
    file, link = tmp_path / "2026-11-30.csv", tmp_path / "latest.csv"
    link.symlink_to(file)
    for content in (b"first", b"second"):
        write_whole(link, [content])
        assert (link.is_symlink(), file.read_bytes()) == (True, content)


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, [b"one ", b"two"])
    reader.join(timeout=10)
    assert read == [b"one two"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_device_is_an_error_and_stays_a_device(tmp_path: Path) -> None:
    link = tmp_path / "full"  # the test uses a link, so that a mistake could not replace the device itself
    link.symlink_to("/dev/full")
    with pytest.raises(InvalidInput, match="full cannot be written: No space left on device"):
        write_whole(link, [b"x" * 100_000])
    assert link.is_symlink()
    assert stat.S_ISCHR(link.stat().st_mode)


def test_standard_output_by_its_name_is_appended_to_where_the_shell_appends(tmp_path: Path) -> None:
    output, name = tmp_path / "all.csv", tmp_path / "stdout"
    output.write_bytes(b"before\n")
    name.symlink_to("/dev/stdout")
    code = f"from pathlib import Path; from cli.files import write_whole; write_whole(Path({str(name)!r}), [b'after\\n'])"
    with output.open("ab") as appended:
        subprocess.run([sys.executable, "-P", "-c", code], stdout=appended, check=True, env={"PYTHONPATH": str(Path.cwd())}, timeout=60)
    assert output.read_bytes() == b"before\nafter\n"
    assert name.is_symlink()
