"""Lists the caveats of a campaign's figures: facts that make them mean less, or something else, than a reader expects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from orchestrator.reports.inferences.figures import Figure
from shared.jobs import JobStatus

MAX_CAVEATS = 100
MAX_JOBS = 500  # the most job ids that are listed with one caveat


def caveats(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return each caveat once as `said`, `jobs` (the ids of at most `MAX_JOBS` jobs) and `total` (how many jobs it applies to)."""
    jobs: dict[str, list[str]] = defaultdict(list)
    for one in figures:
        for said in _of(one):
            jobs[said].append(one.job_id)
    return [{"said": said, "jobs": ids[:MAX_JOBS], "total": len(ids)} for said, ids in list(jobs.items())[:MAX_CAVEATS]]


def _of(one: Figure) -> list[str]:
    said = []
    if one.missed_precision:
        said.append(one.stopped)
    if one.assumed:
        said.append(f"Free dimensions that nobody sized were taken as 1: {one.assumed}. Size them with options.dims or options.shapes.")
    said += one.warnings
    share = one.provider_share if one.status is JobStatus.COMPLETE else None
    # A CPU normally runs all nodes, so that is not worth a caveat. On a GPU, the share says what the figures are worth.
    if share is not None and (share < 1 or one.unit.lower().startswith("gpu")):
        said.append(f"{share:.1%} of the model's nodes ran on {one.provider or 'the provider'}.")
    return [one if one.endswith((".", "!", "?")) else f"{one}." for one in said]
