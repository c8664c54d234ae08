"""Reads from a result how its triad was computed. numpy, torch and earlier versions compute it in different ways, which differ in speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.facts import Fact, fact_text
from shared.kinds.hardware_figures import FIGURES

TEST = "bandwidth"  # its facts say how the kernels were computed
FIGURES_OF_TRIAD = tuple(name for name in FIGURES if name.startswith("triad_"))


def said_of_triad(job: JobRecord) -> str | None:
    """Return what computed the triad of a job, such as `torch.add, with s = 0.5`; None if its result does not say it."""
    return fact_text(_facts(job).get("triad_by"))


def _way(job: JobRecord, _work: Any) -> str | None:
    return said_of_triad(job) or fact_text(_facts(job).get("kernels"))  # on a GPU there is one way, which is in the list of the kernels


TRIAD_BY = Fact("triad_by", "for a comparison by triad: how it was computed", _way)


def _facts(job: JobRecord) -> Mapping[str, Any]:
    outcome = job.result.outcome if job.result is not None else None
    tests = outcome.detail.get("tests") if outcome is not None else None
    facts = tests.get(TEST) if isinstance(tests, Mapping) else None
    return facts if isinstance(facts, Mapping) else {}
