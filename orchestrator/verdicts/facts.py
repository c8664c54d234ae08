"""Finds the facts in which two jobs differ. Which facts there are is in the sheet of their kind of work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.facts import Fact
from orchestrator.reports.sheets.base import Work
from orchestrator.reports.sheets.registry import known_sheets
from orchestrator.verdicts.figures import FACTS_OF_FIGURES

LONGEST = 200  # the most characters of a fact; a language model has hundreds of inputs
SHORT_HASH = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """Says that a fact differs between the two sides of a pair. A side that does not know it has None."""

    fact: str
    baseline: str | None
    current: str | None


def facts_of(job: JobRecord, work: Work, facts: Iterable[Fact]) -> dict[str, str | None]:
    """Return these facts of a job that did this work."""
    return {fact.name: _short(fact.read(job, work)) for fact in facts}


def differences(baseline: Mapping[str, str | None], current: Mapping[str, str | None]) -> tuple[Difference, ...]:
    """Return the facts that differ, or that a side does not know."""
    return tuple(
        Difference(name, baseline[name], current[name]) for name in baseline if baseline[name] is None or baseline[name] != current[name]
    )


def said(difference: Difference) -> str:
    """Return a difference in words for people."""
    unknown = [side for side, value in (("BASE", difference.baseline), ("NEW", difference.current)) if value is None]
    if unknown:
        return f"{difference.fact} is not recorded in {' and '.join(unknown)}"
    return f"{difference.fact} ({_shown(difference.baseline)} in BASE, {_shown(difference.current)} in NEW)"


def _shown(value: str | None) -> str:
    text = str(value)
    whole_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:SHORT_HASH] if whole_hash else text


def _short(text: str | None) -> str | None:
    """Return a fact that is no longer than `LONGEST`. A longer one is replaced by its beginning and its hash, so that two are distinct."""
    if text is None or len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 20]}… (sha256 {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:SHORT_HASH]})"


def must_be_equal() -> list[str]:
    """Return the names of the facts that must be equal before two jobs may be compared, of all kinds of work and figures."""
    of_kinds = (fact.name for sheet in known_sheets() for fact in sheet.must_be_equal)
    return list(dict.fromkeys([*of_kinds, *(fact.name for fact in FACTS_OF_FIGURES)]))
