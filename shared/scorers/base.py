"""Defines what a scorer is: a function that gets an answer and what would have been right, and returns numbers.

A scorer runs after the measurement, at the orchestrator. Libraries that it needs are imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.figures import FigureKind

Score = Callable[[str, Sequence[str]], Mapping[str, float]]


class Unscored(Exception):
    """Raised by a scorer that cannot judge a document. The text says why. Such a document enters no mean."""


@dataclass(frozen=True)
class Scorer:
    """Describes a scorer.

    Attributes:
        version: Changes whenever the same answer would get other numbers.
        figures: The numbers that it gives, by name.
        score: Gets an answer and the references of its document, and returns a number for each of the figures. It raises `Unscored` if it
            cannot judge them. Whatever else it raises makes that document unscored, too.
        settings: What the numbers depend on, such as the library's own version. It is part of the result.
        needs: The libraries that must be installed.
        extra: The extra of pyproject.toml that installs them.
        package: The package that brings the scorer, with its version. Empty for our own.
    """

    name: str
    version: str
    figures: Mapping[str, FigureKind]
    score: Score
    settings: Callable[[], Mapping[str, Any]] = field(default=dict)
    needs: tuple[str, ...] = ()
    extra: str = ""
    package: str = ""


def require_reference(references: Sequence[str]) -> None:
    """Check that there is something to compare an answer with.

    Raises:
        Unscored: there is not.
    """
    if not any(one.strip() for one in references):
        raise Unscored("the document has no reference")
