"""Starts the process of a scorer, and returns what it said. However it ends, each answer has a score or a reason."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from orchestrator.scoring.process import UNSCORED

LONGEST_S = 1_800.0  # for the answers of one job; ROUGE takes some milliseconds for each
LOOK_S = 0.5  # how often it is asked whether to stop
LAST_WORDS = 300  # characters of what a process said before it died


@dataclass(frozen=True)
class Scored:
    """Holds what one scorer said of the answers of a job.

    Attributes:
        each: For each answer its numbers by figure, or `{"unscored": reason}`.
        facts: The scorer's version, its settings, and the package that brings it.
    """

    each: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Stopped(Exception):
    """Raised when the orchestrator ends while a scorer works. Nothing is kept, so the next start begins again."""


def score(
    scorer: str, outputs: Sequence[Mapping[str, Any]], longest_s: float = LONGEST_S, stopped: Callable[[], bool] = lambda: False
) -> Scored:
    """Return what a scorer says of outputs.

    Args:
        outputs: The objects of an `outputs.jsonl`.

    Raises:
        Stopped: `stopped` returned True meanwhile.
    """
    answers = [{"output": one["output"], "references": [str(text) for text in one["references"]]} for one in outputs]
    command = [sys.executable, "-P", "-m", "orchestrator.scoring.process"]
    with ExitStack() as stack:
        request = stack.enter_context(tempfile.TemporaryFile())  # a pipe is no longer fed after the first look (`Popen.communicate`)
        request.write(json.dumps({"scorer": scorer, "answers": answers}).encode())
        request.seek(0)
        process = stack.enter_context(subprocess.Popen(command, stdin=request, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        try:
            answer, said = _talk(process, longest_s, stopped)
        except subprocess.TimeoutExpired:
            return _nothing(outputs, f"the scorer {scorer} took longer than {longest_s:g} s")
        finally:
            process.kill()  # does nothing to a process that has ended
    if process.returncode != 0:
        last = " ".join(said.decode(errors="replace").split())[-LAST_WORDS:]
        return _nothing(outputs, f"the process of the scorer {scorer} ended with {process.returncode}: {last}")
    try:
        found = json.loads(answer)
    except ValueError:
        return _nothing(outputs, f"the process of the scorer {scorer} gave no answer: it ended before its work was done")
    if UNSCORED in found:
        return _nothing(outputs, found[UNSCORED])
    return Scored(found["scores"], found["scorer"])


def _talk(process: subprocess.Popen[bytes], longest_s: float, stopped: Callable[[], bool]) -> tuple[bytes, bytes]:
    for look in range(1, math.ceil(longest_s / LOOK_S) + 1):
        try:
            return process.communicate(timeout=min(LOOK_S, longest_s))
        except subprocess.TimeoutExpired:
            if look * LOOK_S >= longest_s:
                raise
            if stopped():
                raise Stopped from None
    raise AssertionError("the last look raises")


def _nothing(outputs: Sequence[Mapping[str, Any]], why: str) -> Scored:
    return Scored([{UNSCORED: why}] * len(outputs))
