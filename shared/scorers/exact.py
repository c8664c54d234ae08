"""Contains the scorers with one right answer. The score of a document is 100 or 0, so that the mean is a percentage."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from shared.figures import FigureKind
from shared.scorers.base import Scorer, require_reference

RESULT = "result"  # the key of the JSON object that is asked for


def contains(output: str, references: Sequence[str]) -> Mapping[str, float]:
    """Score whether a reference stands in the answer. Upper and lower case are the same."""
    require_reference(references)
    text = output.casefold()
    return {"found_percent": 100.0 * any(one.strip().casefold() in text for one in references if one.strip())}


def exact_match(output: str, references: Sequence[str]) -> Mapping[str, float]:
    """Score whether the answer is a reference, without white space around both. Upper and lower case are not the same."""
    require_reference(references)
    return {"exact_match_percent": 100.0 * any(one.strip() == output.strip() for one in references)}


def json_result(output: str, references: Sequence[str]) -> Mapping[str, float]:
    """Score whether the first JSON object in the answer has the right number under `result`."""
    require_reference(references)
    found = _first_object(output)
    number = found.get(RESULT) if found is not None else None
    valid = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
    right = valid and any(number == float(one) for one in references)
    return {"right_percent": 100.0 * right, "valid_json_percent": 100.0 * valid}


def _first_object(text: str) -> dict[str, Any] | None:
    """Return the first JSON object in a text, such as one in a block of code. Return None if there is none."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place = text.find("{", place + 1)
        else:
            return found if isinstance(found, dict) else None
    return None


CONTAINS = Scorer(
    "contains",
    "1",
    {"found_percent": FigureKind("%", "higher", "answers in which the reference stands, of all that were judged")},
    contains,
)
EXACT_MATCH = Scorer(
    "exact_match",
    "1",
    {"exact_match_percent": FigureKind("%", "higher", "answers that are the reference and nothing else, of all that were judged")},
    exact_match,
)
JSON_RESULT = Scorer(
    "json_result",
    "1",
    {
        "right_percent": FigureKind("%", "higher", "answers whose JSON holds the right number, of all that were judged"),
        "valid_json_percent": FigureKind("%", "higher", "answers with a JSON object of the form that was asked for"),
    },
    json_result,
)
