"""Files of this device that a recipe names by `file://`: which may be named, and what lies beside them.

Whoever submits need not be whoever owns the device. So a name decides before the disk is looked at: only what is called
as a model is called can be asked for, and for everything else the answer does not tell whether it exists. What is read is
told as its size and SHA-256, and by no engine in its own words.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from shared.errors import ModelInvalid, ModelUnavailable
from shared.external_data import external_locations
from worker.models.cache import hash_file


def local_path(source: str, suffixes: tuple[str, ...]) -> Path:
    """The path of a `file://` URL, of which only the name has been looked at.

    Raises:
        ModelUnavailable: it names another host, no absolute path, or a file that is not called as a model is.
    """
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost"):
        raise ModelUnavailable(
            f"{source} names the host {parts.netloc.rpartition('@')[2]!r}; a file URL of this device has three slashes: file:///path"
        )
    text = url2pathname(parts.path)
    path = Path(text)
    if not path.is_absolute() or text.startswith(("//", "\\\\")):  # the latter is another host's on Windows, which would be logged in to
        raise ModelUnavailable(f"{source} is no absolute path: file:///path/to/model{suffixes[0]}")
    if path.suffix.lower() not in suffixes:
        raise ModelUnavailable(
            f"{source} is not called as a model is: by file:// a worker reads files that end in {' or '.join(suffixes)} and no others"
        )
    return path


class LocalFiles:
    """Hashes of the files read so far: a model of gigabytes is hashed once, and again when it has changed."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, int, int, int], str] = {}  # by path, size, time and inode
        self._lock = threading.Lock()

    def sha256(self, path: Path, source: str, tick: Callable[[float | None], None]) -> str:
        """
        Raises:
            ModelUnavailable: there is no such file.
        """
        if path.is_dir():
            raise ModelUnavailable(f"{source} is a directory; give the model file in it")
        if not path.is_file():
            raise ModelUnavailable(f"{source} does not exist on this device; give a path on the worker's own disk, or upload the model")
        stat = path.stat()
        identity = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        with self._lock:
            known = self._hashes.get(identity)
        sha256 = known or hash_file(path, lambda done: tick(done / max(1, stat.st_size)))
        with self._lock:
            self._hashes[identity] = sha256
        return sha256


def locations(model: Path, name: str) -> list[str]:
    """Relative paths of the files beside a model that it keeps weights in.

    Raises:
        ModelInvalid: one that leaves the model's folder; `name` is what the model is called there.
    """
    if model.stat().st_size == 0:  # what cannot be mapped; the runtime says what it is
        return []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return external_locations(data, name)


def files_beside(model: Path, name: str) -> list[Path]:
    """The files that a model of this device keeps weights in.

    Raises:
        ModelInvalid: one is, or links to, a file outside the model's folder.
        ModelUnavailable: one is not there.
    """
    folders = (model.parent.resolve(), model.resolve().parent)  # of the name, and of the file: a cache may link to both from one folder
    found = []
    for location in locations(model, name):
        path = model.parent / location
        if not any(path.resolve().is_relative_to(folder) for folder in folders):
            raise ModelInvalid(
                f"{name} keeps weights in {location!r}, a link out of its folder: put the file itself there, or upload the model"
            )
        if not path.is_file():
            raise ModelUnavailable(missing(name, location, f"put it into {model.parent}, or submit the model with `fleetmark run`"))
        found.append(path)
    return found


def missing(name: str, location: str, what_to_do: str) -> str:
    return f"{name} keeps weights in {location!r}, which is not beside it: {what_to_do}"
