"""Runs one scorer over answers, in a process of its own: a scorer may be code of others, may crash, and takes a core for seconds.

    python -P -m orchestrator.scoring.process < request > answer

The request is `{"scorer": name, "answers": [{"output": …, "references": […]}, …]}`. The answer is `{"scorer": facts, "scores": [one, …]}`;
one is a mapping of the scorer's figures to numbers, or `{"unscored": reason}`. A scorer that cannot be used at all gives
`{"unscored": reason}` in place of the list.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from shared.errors import InvalidInput
from shared.installation import how_to_install
from shared.scorers.base import Scorer, Unscored
from shared.scorers.registry import scorer_named

NICENESS = 19  # a measurement may run on the same machine
LONGEST_REASON = 300  # characters
UNSCORED = "unscored"


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    try:
        scorer = scorer_named(request["scorer"])
    except (ValueError, InvalidInput) as error:
        return {UNSCORED: _short(str(error))}
    if missing := [name for name in scorer.needs if find_spec(name) is None]:
        how = f": {how_to_install(scorer.extra)}" if scorer.extra else ""
        return {UNSCORED: _short(f"the scorer {scorer.name} needs {missing[0]}, which the orchestrator does not have{how}")}
    scores = [_score(scorer, one) for one in request["answers"]]
    facts = {"version": scorer.version, "settings": dict(scorer.settings())} | ({"package": scorer.package} if scorer.package else {})
    return {"scorer": facts, "scores": scores}


def _score(scorer: Scorer, one: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = scorer.score(one["output"], tuple(one["references"]))
    except Unscored as reason:
        return {UNSCORED: _short(str(reason))}
    except Exception as error:  # noqa: BLE001 (it may be code of others, and one document must not cost the others their scores)
        return {UNSCORED: _short(f"the scorer raised {type(error).__name__}: {error}")}
    try:
        numbers = {name: float(found[name]) for name in scorer.figures}
    except (KeyError, TypeError, ValueError) as error:
        return {UNSCORED: _short(f"the scorer did not return a number for each of {', '.join(scorer.figures)}: {error!r}")}
    if wrong := next((name for name, value in numbers.items() if not math.isfinite(value)), None):
        return {UNSCORED: f"the scorer returned {numbers[wrong]} for {wrong}"}
    return numbers


def _short(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON]


def main() -> int:
    out = os.dup(1)
    os.dup2(2, 1)  # what a scorer prints goes to the log, not into the answer
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    content = json.dumps(answer(json.load(sys.stdin.buffer))).encode()
    with os.fdopen(out, "wb") as stream:
        stream.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
