"""A model on a Hugging Face hub: `hf://org/repo[@revision]/path/to/model.onnx`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

HUB = "https://huggingface.co"
SHAPE = "hf://org/repo[@revision]/path/to/model.onnx"

# A revision is a branch, a tag or a commit; those of pull requests and conversions have slashes in them.
_SOURCE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[\w.+-]+))?/(?P<path>[^?#]+)", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class HubFile:
    """One file of a repository, as of a revision."""

    repo: str
    revision: str
    path: str

    @classmethod
    def parse(cls, source: str) -> HubFile:
        """
        Raises:
            ValueError: it is no address of a file on a hub; the message says what one looks like.
        """
        found = _SOURCE.fullmatch(source)
        parts = f"{found['repo']}/{found['path']}".split("/") if found else []
        if found is None or not source.isprintable() or {"", ".", ".."} & set(parts):
            raise ValueError(f"a file on a hub is written {SHAPE}")
        return cls(found["repo"], found["revision"] or "main", found["path"])

    def url(self, endpoint: str) -> str:
        """Where `endpoint` serves it; what lies beside it on the hub is beside this URL."""
        return f"{endpoint.rstrip('/')}/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"
