"""Parses the address of a model on a Hugging Face hub: `hf://org/repo[@revision]/path/to/model.onnx`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

HUB = "https://huggingface.co"
SHAPE = "hf://org/repo[@revision]/path/to/model.onnx"

# A revision is a branch, a tag or a commit. The branches of pull requests and conversions contain slashes.
_SOURCE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[\w.+-]+))?/(?P<path>[^?#]+)", re.IGNORECASE | re.ASCII
)


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
        parts = f"{found['repo']}/{found['path']}".split("/") if found else []
        if found is None or not source.isprintable() or {"", ".", ".."} & set(parts):
            raise ValueError(f"a file on a hub is written {SHAPE}")
        return cls(found["repo"], found["revision"] or "main", found["path"])

    def url(self, endpoint: str) -> str:
        """Return the URL of the file on the hub `endpoint`. Other files of the same folder have URLs in the same folder."""
        return f"{endpoint.rstrip('/')}/{self.repo}/resolve/{quote(self.revision, safe='')}/{quote(self.path)}"
