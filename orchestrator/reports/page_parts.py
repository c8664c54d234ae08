"""Makes the parts of `report.json` that the reports of every kind of work have: the head, what failed, the noise, how to run it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.reports.beside import EnergyOf, energy_line
from orchestrator.reports.beside import gathered as gathered_missing
from orchestrator.reports.bundle import CampaignBundle
from orchestrator.reports.columns import utc_text
from orchestrator.reports.noise_summary import gathered
from shared.jobs import JobStatus

MAX_LISTED = 500  # the most jobs in one table of the page; the CSV has all of them
MAX_REASONS = 20
MAX_MAIN_REASONS = 2


@dataclass(frozen=True)
class Picture:
    """Holds a picture of a campaign: its path in the campaign's folder, what it shows, and the PNG."""

    file: str
    shows: str
    png: bytes


class Reported(Protocol):
    """Names what these parts need of one job. `where` is its device and compute unit, `parameters` what distinguishes it."""

    @property
    def job_id(self) -> str: ...
    @property
    def status(self) -> JobStatus: ...
    @property
    def name(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def parameters(self) -> str: ...
    @property
    def noise(self) -> str: ...
    @property
    def noise_reasons(self) -> tuple[str, ...]: ...
    @property
    def steadiness(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def energy(self) -> EnergyOf | None: ...


def head(bundle: CampaignBundle, jobs: Sequence[Reported], number: int) -> dict[str, Any]:
    """Return what the file begins with.

    Args:
        number: the number of the format.
    """
    states = Counter(one.status.value for one in jobs)
    return {
        "format": number,
        "benchmark_id": bundle.campaign_id,
        "name": bundle.name,
        "notes": bundle.notes,
        "status": bundle.status.value,
        "created_at": utc_text(bundle.created_at),
        "ended_at": utc_text(bundle.ended_at),
        "jobs": len(jobs),
        "jobs_by_status": {state.value: states.get(state.value, 0) for state in JobStatus},
    }


def tail(bundle: CampaignBundle, jobs: Sequence[Reported]) -> dict[str, Any]:
    """Return what the file ends with: energy, what is missing, what failed, the noise, and the command that runs the campaign again."""
    beside = [one.energy for one in jobs if one.energy is not None]
    failures = [one for one in jobs if one.status is not JobStatus.COMPLETE]
    graded = [one for one in jobs if one.noise and one.status is JobStatus.COMPLETE]  # a failed job has no figure to doubt
    return {
        "energy": energy_line(beside),
        "missing": gathered_missing(beside),
        "failures": [
            {
                "job_id": one.job_id,
                "status": one.status.value,
                "work": " · ".join(filter(None, (one.name, one.parameters))),
                "where": one.where,
                "reason": one.error or "no reason given",
            }
            for one in failures[:MAX_LISTED]
        ],
        "failures_total": len(failures),
        "noise": {
            "grades": dict(Counter(one.noise for one in graded)),
            "jobs": len(graded),
            "main_reasons": gathered(one.noise_reasons[:1] for one in graded if one.noise == "noisy")[:MAX_MAIN_REASONS],
            "reasons": gathered(one.noise_reasons for one in graded)[:MAX_REASONS],
            "not_steady": [one.job_id for one in jobs if one.steadiness == "not steady"][:MAX_LISTED],
            "not_steady_total": sum(one.steadiness == "not steady" for one in jobs),
        },
        "run_again": _command(bundle.recipe),
    }


def _command(recipe: dict[str, Any]) -> str:
    """Return the command that runs the campaign again from the page's folder. The API's short form needs curl, as it is no recipe."""
    if "model_url" in recipe:
        return 'curl -d @recipe.yaml "${FLEETMARK_HOST:-http://localhost:5000}/api/campaigns"'
    return "fleetmark run recipe.yaml --watch"
