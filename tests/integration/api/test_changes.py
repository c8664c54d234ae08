"""Tests changing and deleting campaigns and workers by REST, also while others still work on them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.api.results import _ended
from orchestrator.operations.context import Context
from orchestrator.operations.dispatching import top_up
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.record import record
from orchestrator.operations.removal import remove_campaign
from orchestrator.operations.submit import Submitted
from orchestrator.store import job_lists, results
from orchestrator.store.tables import ResultRow
from orchestrator.watch import Watch
from shared.capabilities import worker_queue
from shared.errors import NotFound
from shared.protocol.messages import UNWANTED
from tests.integration.reports import WORKER, result, started

Submit = Callable[..., Submitted]
RECIPE = {"model": "https://models.example/m.onnx", "on": ["cpu.onnx"]}


def left_of(ctx: Context, campaign_id: str) -> list[Path]:
    return [path for path in ctx.settings.outputs_dir.rglob("*") if campaign_id in path.as_posix()]


@pytest.mark.both_databases
def test_campaigns_are_found_by_their_labels(api: httpx.Client) -> None:
    def submit(**labels: str) -> str:
        return str(api.post("/api/campaigns", json=RECIPE | {"labels": labels}).raise_for_status().json()["campaign_id"])

    odd = 'it\'s "odd" [0] $.x = \\'
    main, other, strange = submit(branch="main", gate="ci"), submit(branch="other", gate="ci"), submit(**{odd: "a=b"})

    def found(*labels: str, **more: Any) -> list[str]:
        body = api.get("/api/campaigns", params={"label": list(labels), **more}).raise_for_status().json()
        assert body["total"] >= body["count"]
        return [one["campaign_id"] for one in body["campaigns"]]

    assert found("branch=main") == [main]
    assert sorted(found("gate=ci")) == sorted([other, main])
    assert found("gate=ci", "branch=other") == [other]
    assert found("gate=ci", "gate=other") == found("gate=") == []
    assert found("gate=ci", limit=1) == [max(main, other)]
    assert api.get("/api/campaigns", params={"label": "gate=ci", "limit": 1}).json()["total"] == 2
    assert {"branch": "main", "gate": "ci"} in [one["labels"] for one in api.get("/api/campaigns").json()["campaigns"]]
    name, _, _ = odd.partition("=")
    assert found(f"{name}=") == []
    assert api.patch(f"/api/campaigns/{strange}", json={"labels": {name: "a=b"}}).status_code == 200
    assert found(f"{name}=a=b") == [strange]
    refused = api.get("/api/campaigns?label=gate")
    assert (refused.status_code, refused.json()["fields"][0]["path"]) == (422, "query.label.0")


def test_the_short_form_takes_labels_and_labels_have_limits_everywhere(api: httpx.Client) -> None:
    short = {"model_url": RECIPE["model"], "jobs": [{"compute_unit": "cpu.onnx"}]}
    campaign = api.post("/api/campaigns", json=short | {"labels": {"branch": "main"}}).raise_for_status().json()["campaign_id"]
    assert [one["labels"] for one in api.get("/api/campaigns").json()["campaigns"]] == [{"branch": "main"}]
    for labels in ({"branch": "x" * 501}, {"n" * 201: "x"}, {str(number): "x" for number in range(65)}):
        for answer in (
            api.post("/api/campaigns", json=short | {"labels": labels}),
            api.post("/api/campaigns", json=RECIPE | {"labels": labels}),
            api.patch(f"/api/campaigns/{campaign}", json={"labels": labels}),
        ):
            assert answer.status_code == 422
            assert answer.json()["fields"][0]["path"].startswith("labels")


@pytest.mark.both_databases
def test_a_campaign_gets_another_name_and_its_waiting_jobs_another_priority(
    api: httpx.Client, ctx: Context, submit: Submit, register: Callable[..., str]
) -> None:
    register()
    first = submit(jobs=400).campaign.id  # these are more jobs than the window of a queue
    with ctx.store.read() as session:
        sent = [job.id for job in job_lists.page(session, campaign_id=first, limit=400) if job.dispatched_at is not None]
    assert 0 < len(sent) < 300
    body = api.patch(f"/api/campaigns/{first}", json={"name": "nightly", "labels": {"a": "b"}, "priority": 9}).raise_for_status().json()
    assert (body["name"], body["labels"], body["notes"]) == ("nightly", {"a": "b"}, "")
    with ctx.store.read() as session:
        listed = job_lists.page(session, campaign_id=first, limit=400)
        assert {job.priority for job in listed if job.id not in sent} == {9}
        assert {job.priority for job in listed if job.id in sent} == {5}, "their messages say so"
        assert sum(job.dispatched_at is not None for job in listed) > len(sent), "the more urgent ones have a window of their own"
    # A job that comes back is sent with the current priority, and a retry has this priority too.
    record(ctx, [started(sent[0]), result(sent[0], status="failed", error="x", error_kind="model_invalid")])
    retried = api.post(f"/api/jobs/{sent[0]}/retry").json()["job_id"]
    assert api.get(f"/api/jobs/{retried}").json()["job"]["priority"] == 9
    assert api.patch(f"/api/campaigns/{first}", json={}).json()["name"] == "nightly"
    assert api.patch(f"/api/campaigns/{first}", json={"priority": 10}).status_code == 422
    assert api.patch(f"/api/campaigns/{'campaign-' + '0' * 18}", json={"name": "x"}).status_code == 404


@pytest.mark.both_databases
def test_an_ended_campaign_is_deleted_with_its_files_and_no_other(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    gone, kept = submit(jobs=2).campaign.id, submit(jobs=1).campaign.id
    refused = api.delete(f"/api/campaigns/{gone}")
    assert (refused.status_code, refused.json()["error"]) == (409, "IllegalTransition")
    assert f"POST /api/campaigns/{gone}/cancel" in refused.json()["detail"]
    record(ctx, [result(f"{gone}-job-1"), result(f"{gone}-job-2", status="failed", error="x"), result(f"{kept}-job-1")])
    finish_ended(ctx)
    assert left_of(ctx, gone)
    before = sorted(left_of(ctx, kept))
    body = api.delete(f"/api/campaigns/{gone}").raise_for_status().json()
    assert (body["campaign_id"], body["status"], body["deleted_jobs"], body["left"]) == (gone, "deleted", 2, None)
    assert body["freed_bytes"] > 1_000
    assert left_of(ctx, gone) == []
    for path in (f"campaigns/{gone}", f"campaigns/{gone}/results", f"campaigns/{gone}/report", f"jobs/{gone}-job-1"):
        assert api.get(f"/api/{path}").status_code == 404, path
    assert api.delete(f"/api/campaigns/{gone}").status_code == 404
    assert sorted(left_of(ctx, kept)) == before
    assert api.get(f"/api/campaigns/{kept}").json()["completed_jobs"] == 1
    assert [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]] == [kept]


def test_a_result_of_a_deleted_campaign_is_unwanted_and_leaves_nothing(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=1).campaign.id
    record(ctx, [started(f"{campaign}-job-1")])
    api.post(f"/api/campaigns/{campaign}/cancel").raise_for_status()
    api.delete(f"/api/campaigns/{campaign}").raise_for_status()
    outcome = record(ctx, [started(f"{campaign}-job-1", 2), result(f"{campaign}-job-1")])
    assert outcome.answers == [(WORKER, f"{campaign}-job-1", 1, UNWANTED)]
    assert outcome.objections == ["no job has this id"] * 2
    assert left_of(ctx, campaign) == []
    Watch(ctx).once()
    assert finish_ended(ctx) == 0


@pytest.mark.both_databases
def test_a_retry_and_a_deletion_at_once_lose_nothing(api: httpx.Client, ctx: Context, submit: Submit) -> None:
    """Either the campaign and its jobs are deleted, or the campaign runs again and the deletion is refused."""
    for _ in range(5):
        campaign = submit(jobs=1).campaign.id
        record(ctx, [result(f"{campaign}-job-1", status="failed", error="x")])
        answers: dict[str, int] = {}
        calls = {"retry": ("POST", f"/api/jobs/{campaign}-job-1/retry"), "delete": ("DELETE", f"/api/campaigns/{campaign}")}

        def make(name: str, calls: dict[str, tuple[str, str]] = calls, answers: dict[str, int] = answers) -> None:
            answers[name] = api.request(*calls[name]).status_code

        threads = [threading.Thread(target=make, args=[name]) for name in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers in ({"retry": 201, "delete": 409}, {"retry": 404, "delete": 200})
        assert api.get(f"/api/campaigns/{campaign}").status_code == (200 if answers["retry"] == 201 else 404)


def test_a_download_does_not_end_as_if_it_were_whole(ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PAGE", 1)
    campaign = submit(jobs=3).campaign.id
    record(ctx, [result(f"{campaign}-job-{number}") for number in (1, 2, 3)])
    rows = _ended(ctx, campaign, ResultRow.line, 3)  # the answer is made from these rows
    next(rows)
    remove_campaign(ctx, campaign)
    with pytest.raises(NotFound):
        list(rows)


def test_a_worker_keeps_the_labels_that_it_was_given(api: httpx.Client, ctx: Context, register: Callable[..., str], submit: Submit) -> None:
    worker = register("pi", incarnation="one", labels={"site": "attic"})
    wanted = api.post("/api/campaigns", json=RECIPE | {"requires": {"labels": {"site": "lab"}}}).raise_for_status().json()
    assert "no registered worker" in wanted["warnings"][0]
    body = api.patch(f"/api/workers/{worker}", json={"labels": {"site": "lab"}}).raise_for_status().json()
    assert body["labels"] == {"site": "lab"}
    assert ctx.queue.depths([worker_queue(worker)]) == {worker_queue(worker): 1}, "the job that waited for it is sent"
    register("pi", incarnation="two", previous_incarnation="one", labels={"site": "attic"})
    assert api.get(f"/api/workers/{worker}").json()["labels"] == {"site": "lab"}
    assert api.get("/api/workers").json()["workers"][0]["labels"] == {"site": "lab"}
    assert api.patch(f"/api/workers/{worker}", json={"labels": None}).json()["labels"] == {"site": "attic"}
    refused = api.patch(f"/api/workers/{worker}", json={"capabilities": ["gpu.cuda.onnx"]})
    assert (refused.status_code, "a worker process runs on" in refused.json()["detail"]) == (409, True)
    assert api.patch(f"/api/workers/{worker}", json={"labels": {"x": "y" * 70_000}}).status_code == 422
    assert api.get(f"/api/workers/{worker}").json()["capabilities"] == ["cpu.onnx"]


def test_a_device_of_rest_alone_gets_other_capabilities(api: httpx.Client, ctx: Context, register: Callable[..., str]) -> None:
    worker = register("pi")
    body = api.patch(f"/api/workers/{worker}", json={"capabilities": ["GPU (CoreML)", "cpu.onnx"]}).raise_for_status().json()
    assert body["capabilities"] == ["gpu.coreml", "cpu.onnx"]
    assert [one["worker_id"] for one in api.get("/api/workers?capability=gpu.coreml").json()["workers"]] == [worker]
    assert top_up(ctx) == 0
    assert api.patch(f"/api/workers/{worker}", json={"capabilities": []}).status_code == 422
    unknown = api.patch(f"/api/workers/{worker}", json={"capabilities": ["cpu.onx"]})
    assert "did you mean 'cpu.onnx'" in unknown.json()["detail"]
    api.delete(f"/api/workers/{worker}").raise_for_status()
    assert api.patch(f"/api/workers/{worker}", json={"labels": {}}).status_code == 404
    assert api.patch("/api/workers/worker-none", json={"capabilities": ["cpu.onnx"]}).status_code == 404
