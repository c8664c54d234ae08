"""Gathers the reasons for noise of many jobs into one list: a reason that differs only in its numbers is listed once, as ranges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
_PLACE = "\0"  # stands for a number in the form of a reason; no reason has such a character


@dataclass
class _Reason:
    """Holds one form of a reason: its numbers as they were written, and how many jobs gave it."""

    lows: list[str]
    highs: list[str]
    jobs: set[int] = field(default_factory=set)

    def widen(self, numbers: Sequence[str]) -> None:
        self.lows = [min(pair, key=float) for pair in zip(self.lows, numbers, strict=True)]
        self.highs = [max(pair, key=float) for pair in zip(self.highs, numbers, strict=True)]


def gathered(reasons: Iterable[Sequence[str]]) -> list[dict[str, Any]]:
    """Return each kind of reason once, the most frequent first, as `said` (numbers that differ are ranges) and `jobs` (how many jobs).

    Args:
        reasons: the reasons of each job.
    """
    found: dict[str, _Reason] = {}
    for job, listed in enumerate(reasons):
        for text in listed:
            plain = text.replace(_PLACE, " ")
            numbers = _NUMBER.findall(plain)
            one = found.setdefault(_NUMBER.sub(_PLACE, plain), _Reason(numbers, numbers))
            one.widen(numbers)
            one.jobs.add(job)
    ordered = sorted(found.items(), key=lambda item: -len(item[1].jobs))
    return [{"said": _said(form, one), "jobs": len(one.jobs)} for form, one in ordered]


def _said(form: str, one: _Reason) -> str:
    ranges = iter([low if float(low) == float(high) else f"{low}–{high}" for low, high in zip(one.lows, one.highs, strict=True)])
    return "".join(next(ranges) if part == _PLACE else part for part in re.split(f"({_PLACE})", form))
