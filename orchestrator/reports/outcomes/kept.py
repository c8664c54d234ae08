"""Keeps what the tables of a page need of the figures of all jobs. With 100 000 jobs, the figures of each of them would take gigabytes."""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable
from typing import Any

from orchestrator.reports.outcomes.measured import Measured
from orchestrator.reports.outcomes.ranking import badness, question_of
from shared.figures import Figure

MOST_REASONS = 500  # different ones; further ones are counted together
OTHER_REASONS = "other reasons, which summary.json has for each job"


class KeptFigures:
    """Keeps the figures of the jobs that come first in the rankings, and counts why figures of all jobs are missing.

    The rankings come in the order in which their first jobs were added. The jobs may be added in any order.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rankings: dict[Hashable, int] = {}
        self._order: list[tuple[int, float, str]] = []
        self._figures: dict[str, tuple[Figure, ...]] = {}
        self._missing: dict[str, dict[str, None]] = {}  # the figures, by the reason
        self._counts: dict[str, int] = {}

    def add(self, one: Measured) -> None:
        if one.headline is None:
            return
        place = self._rankings.setdefault(question_of(one), len(self._rankings))
        insort(self._order, (place, badness(one.headline), one.job_id))
        self._figures[one.job_id] = one.figures
        if len(self._order) > self._most:
            del self._figures[self._order.pop()[2]]
        self._count(one.figures)

    def of(self, job_id: str) -> tuple[Figure, ...] | None:
        """Return the figures of a job, or None if the job does not come early enough in the rankings."""
        return self._figures.get(job_id)

    def missing(self) -> list[dict[str, Any]]:
        """Return each reason once, with the figures that are missing for it, and the number of jobs."""
        return [{"said": why, "figures": list(self._missing[why]), "jobs": count} for why, count in self._counts.items()]

    def _count(self, figures: tuple[Figure, ...]) -> None:
        said: dict[str, None] = {}
        for figure in figures:
            if figure.value is None:
                why = figure.missing or "no reason was given"
                why = why if why in self._missing or len(self._missing) < MOST_REASONS else OTHER_REASONS
                self._missing.setdefault(why, {})[figure.name] = None
                said[why] = None
        for why in said:
            self._counts[why] = self._counts.get(why, 0) + 1
