"""Judges the answers to tasks after their campaign has ended, and again whenever somebody asks for it.

Scorers run after the last job, because they take a core, and a measurement may still run on the same machine. The files of a campaign are
written when its answers are judged. The answers are never lost or changed by this, so judging may be repeated, by other versions too.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col

from orchestrator.domain.events import EventKind
from orchestrator.operations.artifacts import place_of
from orchestrator.operations.context import Context
from orchestrator.operations.figures import figure_rows
from orchestrator.operations.rows import row_of_result
from orchestrator.reports.columns import utc_text
from orchestrator.reports.tables import csv_line
from orchestrator.scoring import run
from orchestrator.scoring.figures import figures_of, reasons
from orchestrator.scoring.process import UNSCORED
from orchestrator.scoring.run import Scored
from orchestrator.store import campaigns, figures, jobs, results
from orchestrator.store.bulk import insert_many
from orchestrator.store.moves import LockedJob, lock_jobs
from orchestrator.store.tables import Campaign, FigureRow, Job, ResultRow
from orchestrator.whole_files import whole_file
from shared.errors import Conflict, InvalidInput, Unavailable
from shared.figures import Figure
from shared.jobs import CampaignStatus, JobStatus
from shared.protocol.messages import Result
from shared.scorers.registry import scorer_named
from shared.written_texts import NAME as OUTPUTS
from shared.written_texts import outputs_in

log = logging.getLogger(__name__)

SCORES, DUE = "scores", "due"  # the key of an outcome's detail, and the key in it that says that they shall be made again
ANSWERS_WAIT = timedelta(minutes=2)  # a worker sends a file that is missing again after 30 s, and then after 60 s
MOST_REASONS = 10  # why documents were not scored, in a result; `outputs.jsonl` has the reason of each


@dataclass(frozen=True)
class _Due:
    """Names a job whose answers wait to be judged, and by which scorers."""

    job_id: str
    scorers: tuple[str, ...]


def waiting(ctx: Context) -> Iterator[str]:
    """Yield the ended campaigns whose files are not written yet, the newest first."""
    last: str | None = None
    while True:
        with ctx.store.read() as session:
            page = campaigns.unreported(session, before=last)
        if not page:
            return
        yield from page
        last = page[-1]


def scores_are_due(ctx: Context, campaign_id: str) -> bool:
    """Return whether answers of a campaign wait to be judged, and this process has not given up on them."""
    return campaign_id not in ctx.unjudged and next(_due(ctx, campaign_id), None) is not None


def score_ended(ctx: Context, stopped: Callable[[], bool] = lambda: False) -> int:
    """Judge the answers of every ended campaign in which some wait for it. Return for how many campaigns that was done.

    Raises:
        Unavailable: the database does not answer.
    """
    done = 0
    for campaign_id in waiting(ctx):
        if campaign_id in ctx.unjudged:
            continue
        try:
            judged = [due for due in _due(ctx, campaign_id) if _score(ctx, due, stopped)]
        except run.Stopped:
            return done
        except Unavailable:
            raise
        except OSError as error:
            log.warning("the answers of %s cannot be judged, and are tried again: %s", campaign_id, error)
        except Exception:
            log.exception("the answers of %s cannot be judged: its files are written without scores", campaign_id)
            ctx.unjudged.add(campaign_id)
            done += 1
        else:
            done += bool(judged)
            if judged:
                log.info("%s: the answers of %d jobs are judged", campaign_id, len(judged))
    return done


def score_again(ctx: Context, campaign_id: str) -> int:
    """Let the scorers judge the answers of a campaign again, and its files be written again. Return the number of jobs.

    Until that is done, the campaign has the scores that it had.

    Raises:
        NotFound: there is no such campaign.
        Conflict: it is still running, or none of its jobs has answers and a scorer.
    """

    def write(session: Session) -> int:
        campaign = campaigns.get(session, campaign_id)
        if campaign.status == CampaignStatus.RUNNING:
            raise Conflict(f"{campaign_id} is still running: its answers are judged when it has ended")
        found = list(_with_answers(session, campaign_id))
        lock_jobs(session, [job.id for job, _ in found])
        for _, known in found:
            changed = copy.deepcopy(known.result)
            changed["outcome"].setdefault("detail", {}).setdefault(SCORES, {})[DUE] = True
            known.result = changed
            session.add(known)
        if not found:
            raise Conflict(f"no job of {campaign_id} has answers to a task with a scorer: only a recipe with `task` has something to judge")
        session.execute(update(Campaign).where(col(Campaign.id) == campaign_id).values(reported_at=None))
        return len(found)

    marked = ctx.store.transact(write)
    ctx.unjudged.discard(campaign_id)
    ctx.wake_scorer()
    return marked


def _with_answers(session: Session, campaign_id: str) -> Iterator[tuple[Job, ResultRow]]:
    """Yield the complete jobs with answers that a scorer shall judge, with their results."""
    if not _has_task(results.first_workload(session, campaign_id)):
        return
    total = campaigns.get(session, campaign_id).total_jobs
    for after in range(0, total, results.PAGE):
        for job, known in results.ended_page(session, campaign_id, Job, ResultRow, after=after):
            if known is not None and job.status == JobStatus.COMPLETE and _scorers_of(job.workload) and _announced(known.result):
                yield job, known


def _due(ctx: Context, campaign_id: str) -> Iterator[_Due]:
    with ctx.store.read() as session:
        if not _has_task(results.first_workload(session, campaign_id)):
            return
        found = [
            _Due(job.id, _scorers_of(job.workload)) for job, known in _with_answers(session, campaign_id) if _waits(known.result["outcome"])
        ]
    yield from found


def _has_task(workload: Any) -> bool:
    return isinstance(workload, Mapping) and isinstance(workload.get("task"), Mapping)


def _scorers_of(workload: Any) -> tuple[str, ...]:
    named = workload["task"].get("evaluate") if _has_task(workload) else None
    return tuple(map(str, named)) if isinstance(named, list | tuple) else ()


def _announced(result: Any) -> bool:
    """Return whether a stored result has an outcome, and a file with answers."""
    if not isinstance(result, Mapping) or not isinstance(result.get("outcome"), Mapping):
        return False
    artifacts = result.get("artifacts")
    return isinstance(artifacts, Mapping) and OUTPUTS in artifacts


def _waits(outcome: Mapping[str, Any]) -> bool:
    scores = (outcome.get("detail") or {}).get(SCORES)
    return not isinstance(scores, Mapping) or bool(scores.get(DUE))


def _score(ctx: Context, due: _Due, stopped: Callable[[], bool]) -> bool:
    """Judge the answers of one job, and write what the scorers say. Return False if its answers may still come."""
    file = place_of(ctx, due.job_id, OUTPUTS)
    lost, outputs = "", list[dict[str, Any]]()
    try:
        outputs = outputs_in(file.read_bytes())
    except FileNotFoundError:
        if _may_come(ctx, due.job_id):
            return False
        lost = f"{file.name} is not in the folder of the campaign; `fleetmark score` judges it when it is there"
    except ValueError as error:
        lost = f"{file.name} in the folder of the campaign cannot be read: {error}"
    scored = {name: _judged(name, outputs, lost, stopped) for name in due.scorers}
    _write_scores(ctx, due.job_id, scored, len(outputs))
    ctx.store.transact(lambda session: _keep(session, ctx, due.job_id, scored))
    return True


def _may_come(ctx: Context, job_id: str) -> bool:
    """Return whether the answers of a job may still come: a result is recorded before its files are in their places."""
    with ctx.store.read() as session:
        known = results.get(session, job_id)
        if known is None or ctx.clock.now() - known.recorded_at > ANSWERS_WAIT:
            return False
        return all(event.attempt != known.attempt for event in jobs.noted(session, [job_id], (EventKind.FILE_MISSING,)))


def _judged(name: str, outputs: Sequence[Mapping[str, Any]], lost: str, stopped: Callable[[], bool]) -> Scored:
    return Scored([{UNSCORED: lost}]) if lost else run.score(name, outputs, stopped=stopped)


def _write_scores(ctx: Context, job_id: str, scored: Mapping[str, Scored], count: int) -> None:
    """Write the scores of each answer, one line for each line of the answers. The files of the campaign have them beside the answers."""
    path = place_of(ctx, job_id, OUTPUTS).parent.parent / SCORES / f"{job_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        for number in range(count):
            line: dict[str, Any] = {}
            for name, one in scored.items():
                given = one.each[number]
                if UNSCORED in given:
                    line.setdefault(UNSCORED, {})[name] = given[UNSCORED]
                else:
                    line |= given
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _keep(session: Session, ctx: Context, job_id: str, scored: Mapping[str, Scored]) -> None:
    """Put the scores into the result of a job, its row and its figures. What an earlier scoring said is replaced."""
    job = lock_jobs(session, [job_id]).get(job_id)
    known = results.get(session, job_id)
    if job is None or known is None:
        return  # the campaign has just been removed
    made = [figure for name, one in scored.items() for figure in _figures(name, one)]
    result = copy.deepcopy(known.result)
    outcome = result["outcome"]
    before = (outcome.get("detail") or {}).get(SCORES) or {}
    names = {figure.name for figure in made} | set(before.get("figures", ()))
    kept = [one for one in outcome["figures"] if one["name"] not in names]
    outcome["figures"] = kept + [figure.model_dump(mode="json") for figure in made]
    outcome.setdefault("detail", {})[SCORES] = {
        "at": utc_text(ctx.clock.now()),
        "figures": [figure.name for figure in made],
        "scorers": {name: _facts(one) for name, one in scored.items()},
    }
    _rewrite(session, ctx, job, known, result, names)


def _figures(name: str, scored: Scored) -> list[Figure]:
    try:
        kinds = scorer_named(name).figures
    except (ValueError, InvalidInput) as error:  # the package that brought it is gone; `scored` says so for each document
        log.warning("the scorer %s has no figures: %s", name, error)
        return []
    return figures_of(scored, kinds)


def _facts(scored: Scored) -> dict[str, Any]:
    why = reasons(scored)
    return {**scored.facts, "scored": len(scored.each) - sum(why.values()), UNSCORED: dict(list(why.items())[:MOST_REASONS])}


def _rewrite(session: Session, ctx: Context, job: LockedJob, known: ResultRow, result: dict[str, Any], names: set[str]) -> None:
    parsed = Result.model_validate(result)
    varied = ctx.varied.of(session, [job.campaign_id])[job.campaign_id]
    row = row_of_result(job, JobStatus(job.status), parsed, known.recorded_at, varied)
    known.result, known.row, known.line = result, dict(row), csv_line(row)
    session.add(known)
    figures.delete_of_job(session, job.campaign_id, job.number, names)
    rows = figure_rows(job.campaign_id, job.number, job.workload, parsed, known.recorded_at)
    insert_many(session, FigureRow, [one for one in rows if one["name"] in names], skip_known=True)
