"""Tests reading figures as rows, and jobs sorted by a figure, page by page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update
from sqlmodel import Session, col

from orchestrator.operations import figures as operations
from orchestrator.operations.context import Context
from orchestrator.operations.figures import Backfill
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.store.tables import Campaign, FigureRow, Job, ResultRow
from shared.clock import FakeClock
from shared.figures import Figure, Outcome
from shared.measurements import RawRepeat
from shared.protocol.messages import Result
from shared.stats import summarise
from tests.integration.reports import WORKER, result, started

Submit = Callable[..., Submitted]


def measured(job_id: str, ms: float, device: str = "device") -> Result:
    """Return a complete result whose six repeats all take about `ms`."""
    raw = [
        RawRepeat(
            index=index,
            load_ns=5_000_000,
            warmup_ns=[],
            inference_ns=[round(ms * 1e6) + index] * 3,
            inference_wall_ns=round(ms * 3e6),
            inference_peak_mb=100.0,
        )
        for index in range(6)
    ]
    one = result(job_id)
    return one.model_copy(update={"summary": summarise(raw), "device": one.device.model_copy(update={"name": device})})


def take(ctx: Context, *results: Result) -> None:
    record(ctx, [message for one in results for message in (started(one.job_id), one)])


def rows(api: httpx.Client, limit: int = 2, **query: Any) -> list[dict[str, Any]]:
    """Return all rows of a list that is read page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = api.get("/api/figures", params={"limit": limit, **query}).raise_for_status().json()
        assert page["count"] == len(page["figures"]) <= limit
        found += page["figures"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def ranked(api: httpx.Client, **query: Any) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    while True:
        page = api.get("/api/jobs", params={"limit": 2, **query}).raise_for_status().json()
        found += [(job["job_id"], job["figure"]["value"]) for job in page["jobs"]]
        if page["next_cursor"] is None:
            assert page["total"] in (len(found), None)
            return found
        query["cursor"] = page["next_cursor"]


def test_a_complete_job_has_a_row_for_each_figure(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=2).campaign.id
    failed = result(f"{campaign}-job-2", status="failed", error="no such operator", error_kind="model_invalid")
    record(ctx, [started(f"{campaign}-job-1"), measured(f"{campaign}-job-1", 4.0), started(f"{campaign}-job-2"), failed])
    found = {one["name"]: one for one in rows(api, campaign=campaign)}
    assert set(found) == {"inference_ms", "load_ms", "inference_peak_mb", "throughput_per_s", "samples_per_s"}, "a null has no row"
    headline = found["inference_ms"]
    assert headline["value"] == pytest.approx(4.0, rel=1e-5)
    assert headline["low"] <= headline["value"] <= headline["high"]
    assert {name: headline[name] for name in ("job_id", "campaign_id", "unit", "better", "model", "worker_id")} == {
        "job_id": f"{campaign}-job-1",
        "campaign_id": campaign,
        "unit": "ms",
        "better": "lower",
        "model": "squeezenet.onnx",
        "worker_id": WORKER,
    }
    assert found["throughput_per_s"]["better"] == "higher"
    assert found["throughput_per_s"]["value"] == pytest.approx(250.0)


def test_the_same_result_twice_has_its_figures_once(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    job = f"{submit().campaign.id}-job-1"
    take(ctx, measured(job, 4.0))
    record(ctx, [measured(job, 4.0), measured(job, 5.0)])
    assert [one["value"] for one in rows(api, job=job, name="inference_ms")] == [pytest.approx(4.0, rel=1e-5)]


@pytest.mark.both_databases
def test_a_trend_is_one_figure_of_one_model_on_one_device_with_the_newest_first(
    api: httpx.Client, ctx: Context, submit: Submit, clock: FakeClock
) -> None:
    wanted = []
    for day in range(4):
        campaign = submit(jobs=2).campaign.id
        take(ctx, measured(f"{campaign}-job-1", 4.0 + day), measured(f"{campaign}-job-2", 40.0, device="other"))
        wanted.append((f"{campaign}-job-1", pytest.approx(4.0 + day, rel=1e-5)))
        clock.advance(86_400)
    query: dict[str, Any] = {"name": "inference_ms", "model": "squeezenet.onnx", "device": "device"}
    assert [(one["job_id"], one["value"]) for one in rows(api, **query)] == wanted[::-1]
    since = (clock.now() - timedelta(days=2, hours=1)).isoformat()
    assert [(one["job_id"], one["value"]) for one in rows(api, since=since, **query)] == wanted[:1:-1]
    assert len(rows(api, name="inference_ms", device=WORKER)) == 8
    assert rows(api, name="inference_ms", model="squeezenet") == []


def test_without_a_name_each_row_comes_once_and_the_newest_campaign_first(
    api: httpx.Client, ctx: Context, submit: Submit, clock: FakeClock
) -> None:
    first = submit(jobs=2).campaign.id
    clock.advance(1)
    second = submit().campaign.id
    take(ctx, *(measured(f"{campaign}-job-{number}", 4.0) for campaign, number in ((first, 1), (first, 2), (second, 1))))
    found = [(one["campaign_id"], one["job_id"], one["name"]) for one in rows(api)]
    assert len(found) == len(set(found)) == 15
    assert [campaign for campaign, _, _ in found] == [second] * 5 + [first] * 10
    of_first = [(one["job_id"], one["name"]) for one in rows(api, campaign=first)]
    assert of_first == sorted(of_first)
    assert [one["job_id"] for one in rows(api, job=f"{first}-job-2")] == [f"{first}-job-2"] * 5
    assert rows(api, job=f"{first}-job-2", campaign=second) == []


def test_jobs_are_sorted_by_any_figure_the_best_first(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign, other = submit(jobs=6).campaign.id, submit().campaign.id
    times = [5.0, 3.0, 4.0, 3.0, 6.0]
    take(ctx, *(measured(f"{campaign}-job-{number}", ms) for number, ms in enumerate(times, start=1)), measured(f"{other}-job-1", 1.0))
    order = [2, 4, 3, 1, 5]
    found = ranked(api, sort="inference_ms", campaign=campaign)
    assert [job for job, _ in found] == [f"{campaign}-job-{number}" for number in order], "a job without the figure is left out"
    assert ranked(api, sort="inference_ms")[0][0] == f"{other}-job-1"
    rates = ranked(api, sort="throughput_per_s", campaign=campaign)
    assert [value for _, value in rates] == sorted((value for _, value in rates), reverse=True)
    assert {job for job, _ in rates} == {job for job, _ in found}
    assert ranked(api, sort="inference_ms", campaign=campaign, status="failed") == []
    assert [job for job, _ in ranked(api, sort="inference_ms", worker=WORKER, campaign=other)] == [f"{other}-job-1"]


@pytest.mark.parametrize(("path", "parameter"), [("/api/figures", "name"), ("/api/jobs", "sort")])
def test_an_unknown_figure_is_refused_with_the_nearest(api: httpx.Client, path: str, parameter: str) -> None:
    refused = api.get(path, params={parameter: "inferense_ms"})
    assert refused.status_code == 422
    (field,) = refused.json()["fields"]
    assert field["path"] == f"query.{parameter}"
    assert field["message"].startswith("there is no figure 'inferense_ms': did you mean 'inference_ms', ")
    assert len(field["message"]) < 300, "the names are too many to list"


def test_a_figure_that_only_a_result_names_can_be_asked_for(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    """A newer worker may measure figures that this version does not know."""
    job = f"{submit().campaign.id}-job-1"
    one = measured(job, 4.0)
    assert one.summary is not None
    more = [
        Figure(name="of_tomorrow", unit="J", better="higher", value=7.5),
        Figure(name="per\n/odd", unit="J/B", better="neither", value=1.0),
        Figure(name="nothing", unit="J", better="lower", missing="no sensor"),
    ]
    take(ctx, one.model_copy(update={"summary": one.summary.model_copy(update={"figures": more})}))
    assert [row["value"] for row in rows(api, name="of_tomorrow")] == [7.5]
    assert ranked(api, sort="of_tomorrow") == [(job, 7.5)]
    names = [row["name"] for row in rows(api, limit=1)]
    assert "nothing" not in names
    assert len(names) == len(set(names)) == 7, "each name can be in a cursor"


def test_a_job_of_a_newer_version_is_shown_by_its_kind_and_its_figures(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit().campaign.id
    job = f"{campaign}-job-1"
    ctx.store.transact(
        lambda session: session.execute(
            update(Job).where(col(Job.id) == job).values(workload={"format": 99, "kind": "of-tomorrow", "timeout_s": 60})
        )
    )
    figures = (Figure(name="of_tomorrow", unit="J", better="lower", value=7.5),)
    take(ctx, measured(job, 4.0).model_copy(update={"summary": None, "outcome": Outcome(headline="of_tomorrow", figures=figures)}))
    (row,) = api.get(f"/api/campaigns/{campaign}/results", params={"format": "json"}).json()
    assert (row["Kind"], row["Status"], row["InferenceMsMedian"]) == ("of-tomorrow", "Complete", None)
    assert [(one["name"], one["value"]) for one in rows(api, campaign=campaign)] == [("of_tomorrow", 7.5)]
    assert api.get(f"/api/campaigns/{campaign}/comparison", params={"by": "device"}).status_code in (200, 422)


def test_a_cursor_of_a_figure_that_is_gone_is_refused(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=3).campaign.id
    take(ctx, *(measured(f"{campaign}-job-{number}", 4.0) for number in (1, 2, 3)))
    cursor = api.get("/api/figures", params={"name": "inference_ms", "limit": 1}).json()["next_cursor"]
    sorted_cursor = api.get("/api/jobs", params={"sort": "inference_ms", "limit": 1}).json()["next_cursor"]
    assert api.delete(f"/api/campaigns/{campaign}").status_code == 200
    for path, parameter, where in (("figures", "name", cursor), ("jobs", "sort", sorted_cursor)):
        refused = api.get(f"/api/{path}", params={parameter: "inference_ms", "cursor": where})
        assert refused.status_code == 404
        assert "leave it out to begin again" in refused.json()["detail"]
    assert api.get("/api/figures", params={"cursor": "nonsense"}).status_code == 422


@pytest.mark.both_databases
def test_figures_go_with_their_campaign(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    gone, kept = submit().campaign.id, submit().campaign.id
    take(ctx, measured(f"{gone}-job-1", 4.0), measured(f"{kept}-job-1", 4.0))
    assert api.delete(f"/api/campaigns/{gone}").status_code == 200
    assert {one["campaign_id"] for one in rows(api)} == {kept}
    assert api.post("/api/reset", json={"confirm": True}).status_code == 200
    assert rows(api) == []


def unfigured(ctx: Context, *campaigns: str) -> None:
    """Leave the database as an earlier version would: without figures, and with the mark that the migration makes."""

    def write(session: Session) -> None:
        for campaign in campaigns:
            session.execute(FigureRow.__table__.delete().where(col(FigureRow.campaign_id) == campaign))  # type: ignore[attr-defined]
            session.execute(update(Campaign).where(col(Campaign.id) == campaign).values(figures_due=True))

    ctx.store.transact(write)


def counted(ctx: Context) -> int:
    with ctx.store.read() as session:
        return session.scalar(select(func.count()).select_from(FigureRow)) or 0


@pytest.mark.both_databases
def test_results_of_an_earlier_version_get_their_figures_page_by_page(
    api: httpx.Client, ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "PAGE", 2)
    campaigns = [submit(jobs=5).campaign.id, submit(jobs=1).campaign.id]
    take(ctx, *(measured(f"{campaigns[0]}-job-{number}", float(number)) for number in range(1, 5)), measured(f"{campaigns[1]}-job-1", 9.0))
    wanted = rows(api)
    unfigured(ctx, *campaigns)
    ctx.store.transact(
        lambda session: session.execute(
            update(ResultRow).where(col(ResultRow.job_id) == f"{campaigns[0]}-job-2").values(result={"of": "nobody can read it"})
        )
    )
    backfill, steps = Backfill(), 0
    while backfill.step(ctx):
        steps += 1
        if steps == 2:
            backfill = Backfill()  # this stands for a restart of the process
        assert steps < 20
    readable = [one for one in wanted if one["job_id"] != f"{campaigns[0]}-job-2"]
    assert rows(api) == readable
    assert not backfill.step(ctx)
    record(ctx, [started(f"{campaigns[0]}-job-5"), measured(f"{campaigns[0]}-job-5", 5.0)])
    assert counted(ctx) == len(readable) + 5


def test_two_processes_may_make_figures_at_once(ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=2).campaign.id
    take(ctx, *(measured(f"{campaign}-job-{number}", 4.0) for number in (1, 2)))
    whole = counted(ctx)
    unfigured(ctx, campaign)
    one, other = Backfill(), Backfill()
    assert one.step(ctx)
    assert other.step(ctx)
    while one.step(ctx) or other.step(ctx):
        pass
    assert counted(ctx) == whole


def test_a_campaign_that_is_removed_meanwhile_stops_nothing(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit().campaign.id
    take(ctx, measured(f"{campaign}-job-1", 4.0))
    unfigured(ctx, campaign)
    backfill = Backfill()
    assert backfill.step(ctx)
    assert api.delete(f"/api/campaigns/{campaign}").status_code == 200
    assert not backfill.step(ctx)
