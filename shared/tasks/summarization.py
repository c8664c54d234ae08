"""Asks for a summary of each article.

The data sets are `samples` (articles of our own, of 47 to 273 words, each with a summary), `aclsum` (250 papers on computational
linguistics with summaries by experts, from the package aclsum), and a file of the user's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from shared.tasks.base import DOCUMENT, Document, Task, TaskSettings
from shared.tasks.datasets import read_dataset

SAMPLES = Path(__file__).with_name("articles.jsonl")
ACLSUM = "aclsum"
_SPLITS = ("train", "val", "test")
_ASPECTS = ("challenge", "approach", "outcome")


def documents(settings: TaskSettings) -> Sequence[Document]:
    """Return the articles of a data set, or the first of them."""
    if settings.file is not None:
        found = read_dataset(settings.file)
    elif settings.dataset == ACLSUM:
        found = _aclsum()
    else:
        found = read_dataset(SAMPLES)
    if settings.documents is not None and settings.documents > len(found):
        raise ValueError(f"task.documents asks for {settings.documents} documents, and the data set has {len(found)}: ask for fewer")
    return found[: settings.documents]


def _aclsum() -> list[Document]:
    """Return the papers in the order of the package: title, abstract, introduction and conclusion.

    The reference of a paper is what its three summaries say together.
    """
    package = find_spec(ACLSUM)
    if package is None or package.origin is None:
        raise ValueError(
            "the data set aclsum needs the package aclsum on the device that runs the model: pip install --no-deps aclsum (without "
            "--no-deps, pip also installs a library that is not needed)"
        )
    folder = Path(package.origin).parent / "dataset"
    found = []
    for split in _SPLITS:
        file = folder / f"{split}.jsonl"
        if not file.is_file():
            raise ValueError(f"the package aclsum has no {file.name} here: install its version 0.1.2")
        for line in file.read_text(encoding="utf-8").splitlines():
            paper = json.loads(line)
            sections = (" ".join(sentences) for sentences in paper["sentences"].values())
            summary = " ".join(paper["summary"][name].strip() for name in _ASPECTS)
            found.append(Document(f"{split}-{paper['id']}", "\n\n".join((paper["title"], *sections)), (summary,)))
    return found


TASK = Task(
    name="summarization",
    version="1",
    prompt=f"Summarize the following article in two or three sentences.\n\n{DOCUMENT}\n\nSummary:",
    max_tokens=128,
    scorers=("rouge",),
    documents=documents,
    meaning="summarizes articles",
    settings=frozenset({"documents"}),
    datasets={"samples": "14 articles of our own", ACLSUM: "250 papers on computational linguistics; needs the package aclsum"},
)
