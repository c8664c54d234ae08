"""Reads the manifest of a model that is a folder: Apple's `.mlpackage`.

The rest of Fleetmark knows a model as one file with companions beside it. For a package that file is its manifest, and the companions are
the other files of the folder, by their paths in it. So a package is uploaded, hashed, cached and checked like any other model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from shared.errors import ModelInvalid
from shared.external_data import MAX_FILES, is_inside
from shared.snapshots import CONFIG, config_file

SUFFIX = ".mlpackage"
MANIFEST = "Manifest.json"
DATA = "Data"  # the folder of the package that contains everything that the manifest names
MAX_BYTES = 2**20  # the limit of a manifest; a usual one has a few hundred bytes


def model_file(path: Path) -> Path:
    """Return the file that stands for a model: for a package its manifest, for a snapshot its `config.json`, otherwise the path itself."""
    return path / MANIFEST if path.suffix.lower() == SUFFIX and path.is_dir() else config_file(path)


def shown_path(file: Path) -> Path:
    """Return what the user calls a model: for the manifest of a package and the `config.json` of a snapshot its folder, else the file."""
    is_package = file.name == MANIFEST and file.parent.suffix.lower() == SUFFIX
    return file.parent if is_package or file.name == CONFIG else file


def items_of(file: Path, name: str) -> list[str] | None:
    """Return the paths of files and folders that a manifest names, from the package's folder. None if the file is no manifest.

    Args:
        name: The name of the model, for messages.

    Raises:
        ModelInvalid: A path leaves the package, or the manifest names nothing.
    """
    if not 2 <= file.stat().st_size <= MAX_BYTES:
        return None
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES)
    if content.lstrip()[:1] != b"{":
        return None
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        return None
    entries = manifest.get("itemInfoEntries") if isinstance(manifest, dict) and "rootModelIdentifier" in manifest else None
    if not isinstance(entries, dict):
        return None
    found = [str(entry.get("path", "")) if isinstance(entry, dict) else "" for entry in entries.values()]
    for path in found:
        if not is_inside(path):
            raise ModelInvalid(f"{name} names {path!r:.300} in its manifest; only a path inside the package is read")
    if not found:
        raise ModelInvalid(f"{name} names no model in its manifest; save it again with coremltools")
    return [f"{DATA}/{path}" for path in found]


def parts_of(items: Iterable[str], known: Iterable[str], name: str) -> list[str]:
    """Return those of the known files that a manifest names, or that are in a folder which it names.

    Raises:
        ModelInvalid: An item has no file.
    """
    files = list(known)
    found: dict[str, None] = {}
    for item in items:
        inside = [file for file in files if file == item or file.startswith(f"{item}/")]
        if not inside:
            raise ModelInvalid(
                f"{name} names {item!r:.300} in its manifest, which is not there: a package is a folder, so give all of its files, "
                "as `fleetmark run` does"
            )
        found.update(dict.fromkeys(inside))
    return list(found)


def files_in(folder: Path, name: str) -> list[str]:
    """Return the paths of all files in the data folder of a package, from the package's folder, written with `/`.

    Raises:
        ModelInvalid: There are too many.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in (folder / DATA).rglob("*") if path.is_file())
    if len(found) > MAX_FILES:
        raise ModelInvalid(f"{name} has more than {MAX_FILES} files; is it a package of CoreML?")
    return found
