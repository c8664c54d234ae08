"""Parses the addresses of models on a Hugging Face hub.

One file is written `hf://org/repo[@revision]/path/to/model.onnx`, and a whole snapshot of a language model `hf://org/repo[@revision]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

SCHEME = "hf://"
HUB = "https://huggingface.co"
SHAPE = "hf://org/repo[@revision]/path/to/model.onnx"
SNAPSHOT_SHAPE = "hf://org/repo[@revision]"

# A revision is a branch, a tag or a commit. The branches of pull requests and conversions contain slashes.
_REPO = r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[\w.+-]+))?"
_SOURCE = re.compile(_REPO + r"/(?P<path>[^?#]+)", re.IGNORECASE | re.ASCII | re.DOTALL)
_SNAPSHOT = re.compile(_REPO, re.IGNORECASE | re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def _leaves_its_place(*paths: str | None) -> bool:
    """Return whether a part of a path is empty or means a folder above, so that it would become another address of the hub."""
    return any(part in ("", ".", "..") for path in paths if path is not None for part in path.split("/"))


@dataclass(frozen=True)
class HubFile:
    """Identifies one file of a repository at one revision."""

    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, source: str) -> HubFile:
        """Return the file that an `hf://` address names. Without a revision it is `main`.

        Raises:
            ValueError: the text is not the address of a file on a hub. The message shows the expected form.
        """
        found = _SOURCE.fullmatch(source)
        if found is None or not source.isprintable() or _leaves_its_place(found["repo"], found["path"], found["revision"]):
            raise ValueError(f"a file on a hub is written {SHAPE}")
        return cls(found["repo"], found["revision"] or "main", found["path"])

    def url(self, endpoint: str) -> str:
        """Return the URL of the file on the hub `endpoint`. Other files of the same folder have URLs in the same folder."""
        return f"{endpoint.rstrip('/')}/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"


@dataclass(frozen=True)
class HubSnapshot:
    """Identifies all files of a repository at one revision."""

    repo: str
    revision: str

    @classmethod
    def parse(cls, source: str) -> HubSnapshot:
        """Return the snapshot that an `hf://` address names. Without a revision it is `main`.

        Raises:
            ValueError: the text is not the address of a repository on a hub. The message shows the expected form.
        """
        found = _SNAPSHOT.fullmatch(source)
        if found is None or _leaves_its_place(found["repo"], found["revision"]):
            raise ValueError(f"a snapshot on a hub is written {SNAPSHOT_SHAPE}, which is the whole repository at one revision")
        return cls(found["repo"], found["revision"] or "main")

    @property
    def is_commit(self) -> bool:
        """Return whether the revision is a commit, which never changes."""
        return _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> HubSnapshot:
        """Return the same repository at a commit."""
        return HubSnapshot(self.repo, commit)

    def listing_url(self, endpoint: str) -> str:
        """Return the URL at which a hub tells the commit, and the size and the hash of each file."""
        return f"{endpoint.rstrip('/')}/api/models/{self.repo}/revision/{quote(self.revision, safe='')}?blobs=true"

    def file_url(self, endpoint: str, name: str) -> str:
        return HubFile(self.repo, self.revision, name).url(endpoint)

    def __str__(self) -> str:
        return f"hf://{self.repo}@{self.revision}"


def require_hub_address(source: str, *, snapshots: bool) -> None:
    """Check an `hf://` address of a model.

    Args:
        snapshots: whether it must name a whole repository, which a language model is, and not one file.

    Raises:
        ValueError: it does not. The message shows the expected form.
    """
    if snapshots:
        HubSnapshot.parse(source)
    else:
        HubFile.parse(source)
