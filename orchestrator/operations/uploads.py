"""Collects a worker's large files piece by piece, until their result is recorded.

    .uploads/<job>.<attempt>.<name>.part    what has arrived so far
    .uploads/<job>.<attempt>.<name>         the whole file, on disk, with the hash that its sender named

A result looks for its file under both names, and checks the hash. The process that collected the last piece may have been killed
before it could rename the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.operations.context import Context
from orchestrator.whole_files import move_durably
from shared.errors import Conflict, InvalidInput
from shared.ids import campaign_of

FOLDER = ".uploads"


class Upload:
    """Holds one file of one attempt."""

    def __init__(self, ctx: Context, job_id: str, attempt: int, name: str) -> None:
        self.whole = ctx.settings.outputs_dir / campaign_of(job_id) / FOLDER / f"{job_id}.{attempt}.{name}"
        self.part = self.whole.with_name(self.whole.name + ".part")

    def received(self) -> int:
        """Return how many bytes have arrived."""
        return _size(self.whole) or _size(self.part)

    def add(self, piece: bytes, first: int, total: int) -> None:
        """Write one piece. A piece that begins at 0 starts the file again.

        Args:
            first: the offset of the piece, in bytes.
            total: the size of the whole file, in bytes.

        Raises:
            Conflict: the piece does not begin where the last one ended.
        """
        there = _size(self.part)
        if first not in (0, there):
            if _size(self.whole) != total:  # it is from an earlier holder of the claim, and must not be taken for this file
                self.whole.unlink(missing_ok=True)
            raise Conflict(f"the piece begins at {first}, and {there} bytes are there; HEAD tells where to go on")
        self.part.parent.mkdir(parents=True, exist_ok=True)
        with self.part.open("r+b" if first else "wb") as file:
            file.seek(first)
            file.write(piece)
            file.truncate(min(first + len(piece), total))

    def finish(self, sha256: str) -> None:
        """Check the hash of the complete file and rename it. The file is on disk when this returns, before its sender is answered.

        Raises:
            InvalidInput: the file has another hash. It is deleted.
        """
        found = hash_of(self.part)
        if found != sha256:
            self.part.unlink()
            raise InvalidInput(f"what arrived has the SHA-256 {found}, not {sha256}; send it again from the beginning")
        move_durably(self.part, self.whole)

    def found(self, sha256: str, size: int) -> Path | None:
        """Return the path of the file with this hash, or None. Delete a complete file with another hash: the next try starts again."""
        for path in (self.whole, self.part):
            if path == self.part and _size(path) < size:
                continue  # it may still be arriving
            if path.is_file():
                if hash_of(path) == sha256:
                    return path
                path.unlink(missing_ok=True)
        return None

    def drop(self) -> None:
        self.whole.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)


def all_uploads(ctx: Context) -> list[Path]:
    """Return every uploaded file that waits for its result, of all campaigns."""
    return list(ctx.settings.outputs_dir.glob(f"*/{FOLDER}/*"))


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
