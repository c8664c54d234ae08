"""Files of this device that a recipe names by `file://`: which may be named, and what lies beside them.

Whoever submits a recipe need not be the owner of the device. So the name decides before anything looks at the disk: only paths with a
model's suffix are accepted, and for every other path the answer does not tell whether the file exists. Of an accepted file the answer
tells its size and its SHA-256; no engine quotes it.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shared.content import Content, beside
from shared.errors import ModelInvalid, ModelUnavailable
from shared.external_data import external_locations
from shared.sources import file_path
from worker.models.cache import hash_file


def local_path(source: str, suffixes: tuple[str, ...]) -> Path:
    """Returns the path of a `file://` URL. Only its name has been looked at.

    Raises:
        ModelUnavailable: it names another host, no absolute path, or a file without a model's suffix.
    """
    try:
        text = file_path(source)
    except ValueError as error:
        raise ModelUnavailable(str(error)) from error
    path = Path(text)
    if not path.is_absolute() or text.startswith(("//", "\\\\")):  # the latter is another host's on Windows, which would be logged in to
        raise ModelUnavailable(f"{source} is no absolute path: file:///path/to/model{suffixes[0]}")
    if path.suffix.lower() not in suffixes:
        raise ModelUnavailable(
            f"{source} is not called as a model is: by file:// a worker reads files that end in {' or '.join(suffixes)} and no others"
        )
    return path


class Stamp(NamedTuple):
    """What changes when a file is written anew or replaced."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """Returns the stamp of a file as it is now; None when there is none, or nobody lets us look."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev)


class LocalFiles:
    """Remembers the hashes of the files read so far: a model of gigabytes is hashed once, and again when it has changed."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, Stamp, int], str] = {}  # by path, stamp and the time of the last change of any kind
        self._lock = threading.Lock()

    def content(self, path: Path, source: str, tick: Callable[[float | None], None]) -> Content:
        """
        Raises:
            ModelUnavailable: there is no such file.
        """
        if path.is_dir():
            raise ModelUnavailable(f"{source} is a directory; give the model file in it")
        if not path.is_file() or (stamp := Stamp.of(path)) is None:
            raise ModelUnavailable(f"{source} does not exist on this device; give a path on the worker's own disk, or upload the model")
        identity = (str(path), stamp, path.stat().st_ctime_ns)  # a program may set the time of its last writing back
        with self._lock:
            known = self._hashes.get(identity)
        sha256 = known or hash_file(path, lambda done: tick(min(1.0, done / max(1, stamp.size))))
        with self._lock:
            self._hashes[identity] = sha256
        return Content(sha256, stamp.size)


def locations(model: Path, name: str) -> list[str]:
    """Returns the relative paths of the files beside a model that it keeps weights in, each once.

    Raises:
        ModelInvalid: one that leaves the model's folder; `name` is what the model is called there.
    """
    if model.stat().st_size == 0:  # what cannot be mapped; the runtime says what it is
        return []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return list(dict.fromkeys(beside(location) for location in external_locations(data, name)))


def files_beside(model: Path, name: str, wanted: Iterable[str]) -> dict[str, Path]:
    """Returns the files of this device that lie beside a model, by their relative paths.

    Raises:
        ModelInvalid: one is, or links to, a file outside the model's folder; `name` is what the model is called there.
        ModelUnavailable: one is not there.
    """
    folders = (model.parent.resolve(), model.resolve().parent)  # of the name, and of the file: a cache may link to both from one folder
    found = {}
    for location in wanted:
        path = model.parent / location
        if not any(path.resolve().is_relative_to(folder) for folder in folders):
            raise ModelInvalid(
                f"{name} keeps weights in {location!r}, a link out of its folder: put the file itself there, or upload the model"
            )
        if not path.is_file():
            raise ModelUnavailable(missing(name, location, f"put it into {model.parent}, or submit the model with `fleetmark run`"))
        found[location] = path
    return found


def missing(name: str, location: str, what_to_do: str) -> str:
    return f"{name} keeps weights in {location!r}, which is not beside it: {what_to_do}"
