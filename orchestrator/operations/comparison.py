"""Compares campaigns: reads their jobs from the store, and has `verdicts` judge them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.domain.stored import kind_of
from orchestrator.operations.context import Context
from orchestrator.operations.finish import job_records
from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.store import campaigns, results
from orchestrator.store.tables import Campaign
from orchestrator.verdicts.comparison import Comparison, compare
from orchestrator.verdicts.figures import Metric, compared_figure, figure_kind
from orchestrator.verdicts.matrix import Cell, Entry, entry_of, matrix
from orchestrator.verdicts.sides import Side, side_of
from orchestrator.verdicts.terms import Terms
from shared.device_labels import device_labels
from shared.errors import Conflict, FieldError, InvalidInput, TooLarge
from shared.jobs import CampaignStatus

T = TypeVar("T")

MOST_JOBS = 10_000  # the limit for one campaign in one answer; reading a job's result takes about 0.3 ms


@dataclass(frozen=True)
class Compared:
    """Holds two campaigns and their comparison. The campaigns are read without their recipes."""

    baseline: Campaign
    current: Campaign
    comparison: Comparison


def metric_of(ctx: Context, name: str | None, *campaign_ids: str, compared: bool = False) -> Metric:
    """Return the figure by which these campaigns are looked at: the one with this name, else the headline of their kind of work.

    Args:
        compared: True if each repeat must have the figure, because a test compares two campaigns by it.

    Raises:
        InvalidInput: their kind of work has no such figure, or the campaigns are of different kinds.
        NotFound: there is no such campaign.
    """
    with ctx.store.read() as session:
        kinds = {campaign_id: kind_of(campaigns.first_workload(session, campaign_id)) for campaign_id in campaign_ids}
    if len(set(kinds.values())) > 1:
        message = " and ".join(f"{campaign_id} measured {kind}" for campaign_id, kind in kinds.items())
        raise InvalidInput(f"{message}: two kinds of work have no figure in common; compare campaigns of one kind")
    kind = kinds[campaign_ids[0]]
    sheet = sheet_of(kind)
    if name is None and sheet.headline not in sheet.figures:
        raise InvalidInput(f"{campaign_ids[0]} measured {kind}, a kind of work that this version does not know, so it cannot be compared")
    return (compared_figure if compared else figure_kind)(name or sheet.headline, sheet)


def compare_campaigns(ctx: Context, baseline_id: str, current_id: str, terms: Terms) -> Compared:
    """Return whether one campaign got worse than another.

    Raises:
        NotFound: there is no such campaign.
        InvalidInput: both are the same campaign.
        Conflict: one of them is still running.
        TooLarge: one of them has more than `MOST_JOBS` jobs.
    """
    baseline, current = _ended(ctx, baseline_id), _ended(ctx, current_id)
    if baseline_id == current_id:
        message = f"{current_id} is also the baseline; compare two different campaigns"
        raise InvalidInput(f"current: {message}", fields=[FieldError("query.current", message)])
    with ctx.store.read() as session:
        labels = device_labels([*results.devices(session, baseline_id), *results.devices(session, current_id)])

    def made(job: JobRecord, varied: Sequence[str]) -> Side:
        return side_of(job, terms.figure, varied, labels)

    return Compared(baseline, current, compare(_each(ctx, baseline, made), _each(ctx, current, made), terms))


def matrix_of(ctx: Context, campaign_id: str, by: tuple[str, ...], metric: Metric) -> tuple[Campaign, list[Cell]]:
    """Return a campaign with its jobs as a matrix. While it is running, these are the jobs that have ended.

    Raises:
        NotFound: there is no such campaign.
        TooLarge: it has more than `MOST_JOBS` jobs.
    """
    campaign = _campaign(ctx, campaign_id)
    with ctx.store.read() as session:
        labels = device_labels(results.devices(session, campaign_id))

    def made(job: JobRecord, varied: Sequence[str]) -> Entry:
        return entry_of(job, metric, labels.get(job.result.worker_id, "") if job.result else "", varied)

    return campaign, matrix(_each(ctx, campaign, made), by, metric)


def _campaign(ctx: Context, campaign_id: str) -> Campaign:
    with ctx.store.read() as session:
        campaign = campaigns.get(session, campaign_id)
        session.expunge_all()
    if campaign.total_jobs > MOST_JOBS:
        raise TooLarge(f"{campaign_id} has {campaign.total_jobs} jobs; a comparison takes {MOST_JOBS} at most: compare smaller campaigns")
    return campaign


def _ended(ctx: Context, campaign_id: str) -> Campaign:
    campaign = _campaign(ctx, campaign_id)
    if campaign.status == CampaignStatus.RUNNING:
        done = campaign.total_jobs - campaign.pending_jobs - campaign.running_jobs
        raise Conflict(
            f"{campaign_id} is still running ({done} of {campaign.total_jobs} jobs have ended); wait for it:  fleetmark watch {campaign_id}"
        )
    return campaign


def _each(ctx: Context, campaign: Campaign, made: Callable[[JobRecord, Sequence[str]], T]) -> list[T]:
    """Return what `made` makes of each ended job, in order. A job that was retried is left out, as the new job stands in its place.

    Only one page of whole jobs is in memory at a time. What is made of them must be small.
    """
    with ctx.store.read() as session:
        varied = ctx.varied.of(session, [campaign.id])[campaign.id]
    found: dict[str, T] = {}
    replaced: set[str] = set()
    for job in job_records(ctx, campaign, varied):
        found[job.job_id] = made(job, varied)
        if job.retry_of is not None:
            replaced.add(job.retry_of)
    return [one for job_id, one in found.items() if job_id not in replaced]
