"""Defines what a task of a language model is: documents, a prompt for each of them, where an answer ends, and how answers are judged.

A task is a record with a plain function. The measured process imports it, so no task imports pydantic or numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT, QUESTION = "{document}", "{question}"  # what a prompt template may hold; every other text in it stands for itself


@dataclass(frozen=True)
class Document:
    """Holds one document of a task.

    Attributes:
        id: Different for each document of a data set.
        text: What `{document}` in the prompt stands for.
        references: What a perfect model would answer. With several, an answer is compared with the nearest of them.
        question: What `{question}` in the prompt stands for.
    """

    id: str
    text: str
    references: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True)
class TaskSettings:
    """Says which documents a task has. What a recipe leaves out is None, and the task has a default of its own.

    Attributes:
        documents: How many documents: the first of a data set, or how many are generated.
        words: How many words a generated document has.
        depth: Where in a generated document the fact stands: 0 is the beginning, 1 the end.
        seed: What documents are generated with.
        dataset: The name of a data set that the task knows.
        file: The file with the user's own data set.
    """

    documents: int | None = None
    words: int | None = None
    depth: float | None = None
    seed: int = 0
    dataset: str = ""
    file: Path | None = None


@dataclass(frozen=True)
class Task:
    """Describes a task.

    Attributes:
        version: Changes whenever the same recipe would give other prompts or other references.
        prompt: The template of the prompt. It holds `{document}`, and may hold `{question}`.
        max_tokens: The most tokens of an answer.
        scorers: The names of the scorers that judge the answers, unless the recipe says otherwise.
        documents: Returns the documents, the same for the same settings. It raises a ValueError if it cannot.
        meaning: One sentence that says what the task asks.
        stop: An answer ends with the first of these strings that it contains.
        settings: Which of `documents`, `words` and `depth` have an effect.
        datasets: The data sets that the task knows by name, the default first. A task that makes its own documents has none.
        package: The package that brings the task, with its version. Empty for our own.
    """

    name: str
    version: str
    prompt: str
    max_tokens: int
    scorers: tuple[str, ...]
    documents: Callable[[TaskSettings], Sequence[Document]]
    meaning: str = ""
    stop: tuple[str, ...] = ()
    settings: frozenset[str] = field(default_factory=frozenset)
    datasets: Mapping[str, str] = field(default_factory=dict)
    package: str = ""


def filled(template: str, document: Document) -> str:
    """Return the prompt of a document. Braces in the document itself stay as they are."""
    parts = template.split(DOCUMENT)
    return document.text.join(part.replace(QUESTION, document.question) for part in parts)


def prompt_sha256(prompt: str) -> str:
    return hashlib.sha256(prompt.encode(errors="surrogatepass")).hexdigest()


def end_of(text: str, stop: Sequence[str]) -> str:
    """Return a text up to the first stop string in it, which stays. A token may have brought more than the end of the string."""
    ends = [place + len(one) for one in stop if (place := text.find(one)) >= 0]
    return text[: min(ends)] if ends else text
