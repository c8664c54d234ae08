"""Reads what a hub says about the files of a repository at one commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.external_data import MAX_FILES
from shared.ids import SHA256

_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ListedFile:
    """Holds the size of a file in bytes, and its SHA-256 if it is in Git LFS, otherwise the hash by which git knows it."""

    size: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class HubListing:
    """Holds the files of a repository at a commit, by their names. Files in subfolders are no part of a snapshot, and are left out."""

    commit: str
    files: Mapping[str, ListedFile]

    def as_json(self) -> dict[str, Any]:
        """Return the listing in the form of the hub's answer, so that it is read back by `listing_of`."""
        return {
            "sha": self.commit,
            "siblings": [
                {
                    "rfilename": name,
                    "size": file.size,
                    "blobId": file.git_sha1,
                    **({"lfs": {"sha256": file.sha256, "size": file.size}} if file.sha256 is not None else {}),
                }
                for name, file in self.files.items()
            ],
        }


def listing_of(answer: Any) -> HubListing | None:
    """Return the listing in a hub's answer, or None if it is none, or if it names a file without a size or a hash to check it by."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("sha"), str) or not _SHA1.fullmatch(answer["sha"]):
        return None
    siblings = answer.get("siblings")
    if not isinstance(siblings, list):
        return None
    files: dict[str, ListedFile] = {}
    for entry in siblings:
        name = entry.get("rfilename") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            return None
        if "/" in name:
            continue
        file = _file(entry)
        if file is None or len(files) >= MAX_FILES:
            return None
        files[name] = file
    return HubListing(answer["sha"], files)


def _file(entry: Mapping[str, Any]) -> ListedFile | None:
    lfs, blob = entry.get("lfs"), entry.get("blobId")
    sha256 = lfs.get("sha256") if isinstance(lfs, Mapping) else None
    size = lfs.get("size") if isinstance(lfs, Mapping) else entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    if sha256 is not None:
        return ListedFile(size, sha256, None) if isinstance(sha256, str) and SHA256.fullmatch(sha256) else None
    return ListedFile(size, None, blob) if isinstance(blob, str) and _SHA1.fullmatch(blob) else None
