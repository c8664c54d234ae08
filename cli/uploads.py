"""Uploads files to the orchestrator, unless it has them already, and shows how far an upload is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli import zoo
from cli.terminal import err, say

Sent = Callable[[int], None]


class Uploads(Protocol):
    """Receives uploaded files. `Client` implements this protocol."""

    def exists(self, path: str) -> bool: ...
    def upload_model(self, file: Path, sha256: str, sent: Sent) -> None: ...


def upload(uploads: Uploads, file: Path, sha256: str) -> None:
    """Upload a file, unless the orchestrator already has a file with this SHA-256."""
    if not uploads.exists(f"models/{sha256}"):
        with _bar(file) as sent:
            uploads.upload_model(file, sha256, sent)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{max(1, round(count / 2**10))} kB"


@contextmanager
def _bar(file: Path) -> Iterator[Sent]:
    if not err.is_terminal:
        remark = zoo.remark(file)
        say(f"Uploading {file.name} ({_size(file.stat().st_size)}{f': {remark}' if remark else ''})")
        yield lambda _: None
        return
    columns = (
        TextColumn("Uploading {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        remark = zoo.remark(file)
        task = progress.add_task(f"{file.name} ({remark})" if remark else file.name, total=file.stat().st_size)
        yield lambda count: progress.advance(task, count)
