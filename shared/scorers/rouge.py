"""Compares a summary with reference summaries by ROUGE (Lin 2004), with Google's rouge-score.

The numbers are F1 × 100 of rouge1 (single words), rouge2 (pairs of words), rougeL (longest common subsequence of the whole texts) and
rougeLsum (the same, sentence by sentence), with Porter's stemmer. rougeLsum takes sentences from line breaks; without any, it silently is
rougeL. The library's own splitter needs a download, so sentences are split here.

rouge-score knows the letters a to z and digits, and drops everything else. So a text in another script would score 0 whatever it says.
Such a document is not scored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from shared.figures import FigureKind
from shared.scorers.base import Scorer, Unscored, require_reference

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
LIBRARY = "rouge-score"
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|\n+")
_KNOWN = re.compile(r"[a-z0-9]")


def sentences(text: str) -> str:
    """Return a text with one sentence in each line. A sentence ends with `.`, `!` or `?` before white space, or with its line."""
    parts: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        parts.append(text[start : end.end()].strip())
        start = end.end()
    parts.append(text[start:].strip())
    return "\n".join(part for part in parts if part)


def score(output: str, references: Sequence[str]) -> Mapping[str, float]:
    """Return the four numbers. An empty answer has 0 in all of them. With several references, the best of each number counts."""
    require_reference(references)
    if not output.strip():
        return dict.fromkeys(TYPES, 0.0)
    for what, text in (("answer", output), *(("reference", one) for one in references)):
        _require_known_script(what, text)
    scores = _scorer().score_multi([sentences(one) for one in references if one.strip()], sentences(output))
    return {name: 100.0 * scores[name].fmeasure for name in TYPES}


def _require_known_script(what: str, text: str) -> None:
    """Check that at least half of the letters and digits of a text are known to rouge-score.

    Raises:
        Unscored: they are not.
    """
    letters = [one for one in text.lower() if one.isalnum()]
    known = sum(_KNOWN.match(one) is not None for one in letters)
    if 2 * known < len(letters):
        raise Unscored(
            f"ROUGE knows the letters a to z and digits only: {len(letters) - known} of the {len(letters)} in the {what} are others"
        )


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # takes a second, and is not needed before there is something to score

    return RougeScorer(list(TYPES), use_stemmer=True)


def settings() -> Mapping[str, Any]:
    return {
        "library": f"{LIBRARY} {version(LIBRARY)}",
        "stemmer": "Porter, of nltk " + version("nltk"),
        "value": "F1 x 100, the best of several references",
        "sentences": "split by Fleetmark behind . ! ? and at line breaks",
        "tokens": "a to z and 0 to 9, in lower case",
    }


def _kind(what: str) -> FigureKind:
    return FigureKind("F1 x 100", "higher", f"{what} that the answers share with the references, as the mean over the documents")


SCORER = Scorer(
    name="rouge",
    version="1",
    figures={
        "rouge1": _kind("single words"),
        "rouge2": _kind("pairs of words"),
        "rougeL": _kind("the longest common sequence of words"),
        "rougeLsum": _kind("the longest common sequences of words, sentence by sentence,"),
    },
    score=score,
    settings=settings,
    needs=("rouge_score", "nltk"),
    extra="scores",
)
