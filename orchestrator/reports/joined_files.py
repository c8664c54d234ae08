"""Joins the files of a campaign's jobs to one file of the campaign."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from orchestrator.whole_files import whole_file
from shared.ids import number_of

log = logging.getLogger(__name__)


def join_files(files: Iterable[Path], target: Path, lines_of: Callable[[Path], Iterable[bytes]], what: str) -> Path | None:
    """Write the lines of all files to `target`, in the order of the jobs, and return it. Return None if there are no files.

    A file that cannot be read is left out from there on, and the log says so.

    Args:
        files: one file for each job, named by the id of its job.
        lines_of: returns the lines of one file, in pieces of any number of lines. It raises ValueError if the file cannot be read.
        what: what the files hold, for the log: `answers`.

    Raises:
        OSError: the folder cannot be written.
    """
    found = sorted(files, key=lambda path: number_of(path.stem))
    if not found:
        return None
    with whole_file(target) as file:
        for path in found:
            try:
                for lines in lines_of(path):
                    file.write(lines)
            except ValueError as error:
                log.warning("the %s of %s are left out of %s: %s", what, path.stem, target, error)
    return target
