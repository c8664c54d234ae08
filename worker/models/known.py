"""Remembers which models the cache holds, so that a worker can say so: a note for each model, beside the files.

    models/<sha256 of the model>.json   its name, its size, where it was fetched from, and the files that it consists of

A model whose files are not all in the cache any more is not listed. The time of a note is the last use of its model.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.adverts import MOST_MODELS, model_key
from shared.ids import SHA256
from worker.durable import write_durably

FOLDER = "models"
MOST_SOURCES = 8  # of one model


@dataclass(frozen=True)
class KnownModel:
    """Describes a model in the cache.

    Attributes:
        sha256: The hash of the model with all its files.
        size: The bytes of these files together.
        sources: Where it was fetched from, the last one first. An address with a login or a query, which may hold a key, is left out.
        files: The SHA-256 of each file.
    """

    sha256: str
    name: str
    size: int
    sources: tuple[str, ...]
    files: tuple[str, ...]


def remember(cache_dir: Path, model: KnownModel) -> None:
    """Note that a model was fetched into the cache, or used from it."""
    path = cache_dir / FOLDER / f"{model.sha256}.json"
    known = _read(path)
    sources = tuple(dict.fromkeys([*model.sources, *(known.sources if known is not None else ())]))[:MOST_SOURCES]
    model = KnownModel(model.sha256, model.name, model.size, sources, model.files)
    if known == model:
        os.utime(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(asdict(model)).encode())


def known_models(cache_dir: Path) -> list[KnownModel]:
    """Return the models whose files are all in the cache, the last used one first, at most `MOST_MODELS`. Other notes are removed."""
    notes = sorted((cache_dir / FOLDER).glob("*.json"), key=_used, reverse=True)  # first: a note is written after its files
    if not notes:
        return []
    blobs = cache_dir / "blobs"
    there = {path.name for path in blobs.iterdir()} if blobs.is_dir() else set()
    found: list[KnownModel] = []
    for path in notes:
        model = _read(path)
        if model is None or not there.issuperset(model.files):
            with contextlib.suppress(OSError):  # another process has removed it, or may have just written it anew
                path.unlink()
        elif len(found) < MOST_MODELS:
            found.append(model)
    return found


def keys_of(models: Iterable[KnownModel]) -> list[str]:
    """Return the keys by which placement knows these models; see `shared.adverts`."""
    return list(dict.fromkeys(model_key(identity) for model in models for identity in (model.sha256, *model.sources)))


def shareable(sources: Collection[str]) -> tuple[str, ...]:
    """Return the addresses that hold neither a login nor a query."""
    return tuple(source for source in sources if source and "?" not in source and "@" not in source.partition("://")[2].partition("/")[0])


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(path: Path) -> KnownModel | None:
    try:
        content: Any = json.loads(path.read_bytes())
        files = tuple(content["files"])
        if not files or not all(SHA256.fullmatch(file) for file in files):
            return None
        return KnownModel(str(content["sha256"]), str(content["name"]), int(content["size"]), tuple(map(str, content["sources"])), files)
    except (OSError, ValueError, TypeError, KeyError):  # it does not exist, or is damaged
        return None
