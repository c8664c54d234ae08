"""Reads files of this device that a recipe names by `file://`. It decides which paths are allowed and finds the files beside a model.

The person who submits a recipe may not be the owner of the device. So the path is checked before the disk is read. Only paths with
a model's suffix are accepted. For any other path the answer does not reveal whether the file exists. For an accepted file the answer
reveals its size and its SHA-256. No engine quotes its content.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from shared.content import Content, beside
from shared.errors import ModelInvalid, ModelUnavailable
from shared.external_data import external_locations
from shared.model_packages import items_of, parts_of
from shared.snapshots import CONFIG, is_snapshot
from shared.snapshots import parts_of as parts_of_snapshot
from shared.sources import file_path
from worker.models.cache import hash_file


def local_path(source: str, suffixes: tuple[str, ...]) -> Path:
    """Return the path in a `file://` URL. Only the text is checked; the disk is not read.

    Raises:
        ModelUnavailable: The URL names another host, a relative path, or a file without a model's suffix.
    """
    try:
        text = file_path(source)
    except ValueError as error:
        raise ModelUnavailable(str(error)) from error
    path = Path(text)
    if CONFIG in suffixes:  # a folder; only its `config.json` is looked for, and the files that belong to it
        path = path if path.name == CONFIG else path / CONFIG
    if not path.is_absolute() or text.startswith(("//", "\\\\")):  # // is another host on Windows
        example = "" if CONFIG in suffixes else suffixes[0]
        raise ModelUnavailable(f"{source} is no absolute path: file:///path/to/model{example}")
    if CONFIG not in suffixes and path.suffix.lower() not in suffixes:
        raise ModelUnavailable(
            f"{source} is not called as a model is: by file:// a worker reads files that end in {' or '.join(suffixes)} and no others"
        )
    return path


class Stamp(NamedTuple):
    """Holds the properties of a file that change when it is rewritten or replaced."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """Return the current stamp of a file, or None if it does not exist or may not be read."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev)


class LocalFiles:
    """Remembers the hashes of the files read so far, so that a file of gigabytes is hashed again only when it has changed."""

    def __init__(self) -> None:
        self._hashes: dict[tuple[str, Stamp, int], str] = {}  # keyed by path, stamp and ctime
        self._lock = threading.Lock()

    def content(self, path: Path, source: str, tick: Callable[[float | None], None]) -> Content:
        """Return the hash and the size of a file.

        Raises:
            ModelUnavailable: There is no such file.
        """
        if path.is_dir():
            raise ModelUnavailable(f"{source} is a directory; give the model file in it")
        if not path.is_file() or (stamp := Stamp.of(path)) is None:
            raise ModelUnavailable(f"{source} does not exist on this device; give a path on the worker's own disk, or upload the model")
        identity = (str(path), stamp, path.stat().st_ctime_ns)  # ctime, because a program may set mtime to any value
        with self._lock:
            known = self._hashes.get(identity)
        sha256 = known or hash_file(path, lambda done: tick(min(1.0, done / max(1, stamp.size))))
        with self._lock:
            self._hashes[identity] = sha256
        return Content(sha256, stamp.size)


def locations(model: Path, name: str, known: Iterable[str] = ()) -> list[str]:
    """Return the relative paths of the files beside a model in which it keeps weights, without repetitions.

    Args:
        name: What the model is called in error messages.
        known: The files beside it. A package names folders, too; all known files in them belong to it. A snapshot names none, and its
            files are known by their names.

    Raises:
        ModelInvalid: One of the paths leaves the model's folder, or a part of a package is not known.
    """
    if (items := items_of(model, name)) is not None:
        return parts_of(items, known, name)
    if is_snapshot(model):
        return parts_of_snapshot(known, name)
    if model.stat().st_size == 0:  # an empty file cannot be mapped; the runtime will report it
        return []
    return list(_named_in(model, Stamp.of(model), model.stat().st_ctime_ns, name))


@lru_cache(maxsize=256)
def _named_in(model: Path, stamp: Stamp | None, ctime_ns: int, name: str) -> tuple[str, ...]:  # noqa: ARG001 - they tell whether it changed
    """Return the paths that an ONNX file names. All jobs of a campaign ask this of one file, and reading a large graph takes 30 ms."""
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return tuple(dict.fromkeys(beside(location) for location in external_locations(data, name)))


def files_beside(model: Path, name: str, wanted: Iterable[str]) -> dict[str, Path]:
    """Return the files of this device that are beside a model, keyed by their relative paths.

    Args:
        name: What the model is called in error messages.

    Raises:
        ModelInvalid: A file is outside the model's folder, or a link to such a file.
        ModelUnavailable: A file does not exist.
    """
    folders = (model.parent.resolve(), model.resolve().parent)  # the folders of a link and of its target
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
