"""Writes files that are complete or not there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shared.errors import InvalidInput


def write_whole(file: Path, pieces: Iterable[bytes]) -> None:
    """Write these pieces to a file. If this fails, an earlier file of that name stays as it was.

    Raises:
        InvalidInput: the file cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with unfinished.open("wb") as part:
            part.writelines(pieces)
        unfinished.replace(file)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
