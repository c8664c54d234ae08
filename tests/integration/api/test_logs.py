"""Tests the calls for the logs of a campaign, and the call that removes what is old."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.finish import finish_ended
from orchestrator.operations.models import path_of, store_model
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from shared.clock import FakeClock
from shared.ids import job_id
from tests.integration.reports import artifact, result
from tests.integration.worker_process import eventually

Submit = Callable[..., Submitted]
WORKER = "worker-0123456789ab"


@pytest.fixture(autouse=True)
def _a_device(register: Callable[..., str]) -> None:
    register()


def line(job: str, second: int, level: str, source: str, message: str, attempt: int = 1) -> bytes:
    fields = {"time": f"2026-03-01T12:00:{second:02d}.000+00:00", "level": level, "source": source}
    return json.dumps(fields | {"job": job, "attempt": attempt, "worker": WORKER, "message": message}).encode() + b"\n"


def ended(ctx: Context, job: str, lines: bytes) -> None:
    report = result(job)
    record(ctx, [report.model_copy(update={"artifacts": {"log.jsonl": artifact(lines)}})])


@pytest.fixture
def campaign(ctx: Context, submit: Submit) -> str:
    """Return the id of a campaign of 11 jobs, of which the first, the second and the eleventh have ended."""
    name = str(submit(jobs=11).campaign.id)
    jobs = {number: job_id(name, number) for number in (1, 2, 11)}
    ended(ctx, jobs[11], line(jobs[11], 1, "info", "system", "eleven"))
    ended(ctx, jobs[1], line(jobs[1], 5, "info", "benchmark", "one") + line(jobs[1], 6, "error", "application", "Out of Memory: 3 µs"))
    ended(ctx, jobs[2], line(jobs[2], 3, "warning", "infrastructure", "two") + b"no JSON\n")
    return name


def messages(api: httpx.Client, campaign: str, query: str = "") -> list[str]:
    answer = api.get(f"/api/campaigns/{campaign}/logs{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [str(json.loads(each)["message"]) for each in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["one", "Out of Memory: 3 µs", "two", "eleven"]),
        ("?level=warning", ["Out of Memory: 3 µs", "two"]),
        ("?source=system&source=benchmark", ["one", "eleven"]),
        ("?search=out%20of%20memory", ["Out of Memory: 3 µs"]),
        (f"?worker={WORKER}&level=error", ["Out of Memory: 3 µs"]),
        ("?worker=worker-other", []),
        ("?since=2026-03-01T12:00:05Z", ["one", "Out of Memory: 3 µs"]),
        ("?tail=2", ["one", "Out of Memory: 3 µs"]),
        ("?tail=2&level=info&source=system&source=infrastructure", ["eleven", "two"]),
    ],
)
def test_lines_are_chosen_by_what_is_asked(api: httpx.Client, campaign: str, query: str, found: list[str]) -> None:
    assert messages(api, campaign, query) == found


def test_one_job_is_asked_for_by_its_id(api: httpx.Client, campaign: str) -> None:
    assert messages(api, campaign, f"?job={job_id(campaign, 11)}") == ["eleven"]


@pytest.mark.parametrize(
    "query", ["?level=loud", "?source=rumour", "?job=..%2F..%2Fetc", "?tail=0", "?search=", "?since=yesterday", "?levle=info"]
)
def test_a_question_that_has_no_answer_is_refused(api: httpx.Client, campaign: str, query: str) -> None:
    answer = api.get(f"/api/campaigns/{campaign}/logs{query}")
    assert (answer.status_code, answer.json()["error"]) == (422, "InvalidInput")


def test_an_unknown_campaign_has_no_logs(api: httpx.Client) -> None:
    for ending in ("logs", "logs.tar.gz"):
        assert api.get(f"/api/campaigns/campaign-{'0' * 18}/{ending}").status_code == 404


def test_whoever_follows_gets_each_line_once_and_is_let_go_at_the_end(
    api: httpx.Client, ctx: Context, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.api.logs.LOOK_S", 0.02)
    monkeypatch.setattr("orchestrator.api.logs.ALIVE_S", 0.05)
    name = str(submit(jobs=2).campaign.id)
    first, second = (job_id(name, number) for number in (1, 2))
    ended(ctx, first, line(first, 1, "info", "system", "of the first"))
    seen: list[str] = []

    def follow() -> None:
        with httpx.stream(
            "GET", f"{str(api.base_url).rstrip('/')}/api/campaigns/{name}/logs?follow=true", timeout=60, trust_env=False
        ) as answer:
            seen.extend(answer.iter_lines())

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        eventually(lambda: "of the first" in str(seen) and "" in seen, "the first line, and a sign that the connection is alive")
        assert thread.is_alive()
        ended(ctx, second, line(second, 2, "info", "system", "of the second"))
    finally:
        finish_ended(ctx)
        thread.join(60)
    assert not thread.is_alive()
    assert [json.loads(each)["message"] for each in seen if each] == ["of the first", "of the second"]


def test_a_later_attempt_is_new_to_whoever_follows(ctx: Context, campaign: str) -> None:
    from orchestrator.operations.logs import CampaignLogs, Wanted

    job = job_id(campaign, 1)
    logs = CampaignLogs(ctx, campaign, Wanted(job=job))
    assert len(list(logs.new_lines())) == 2
    assert list(logs.new_lines()) == []
    file = ctx.settings.outputs_dir / campaign / "logs" / f"{job}.log"
    file.write_bytes(file.read_bytes() + line(job, 9, "info", "system", "again", attempt=2))
    assert [json.loads(each)["message"] for each in logs.new_lines()] == ["again"]


def test_the_archive_holds_every_log_and_the_history_of_each_job(api: httpx.Client, campaign: str, ctx: Context) -> None:
    answer = api.get(f"/api/campaigns/{campaign}/logs.tar.gz")
    assert answer.headers["content-disposition"] == f'attachment; filename="{campaign}_logs.tar.gz"'
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]  # all are files
    logs = {f"{campaign}/logs/{path.name}": path.read_bytes() for path in (ctx.settings.outputs_dir / campaign / "logs").iterdir()}
    history = held.pop(f"{campaign}/history.jsonl")
    assert held == logs
    assert [(each["job"], each["kind"]) for each in map(json.loads, history.splitlines())] == [
        (job_id(campaign, number), "complete") for number in (1, 2, 11)
    ]


def test_what_is_old_is_shown_and_removed_only_when_confirmed(api: httpx.Client, ctx: Context, submit: Submit, clock: FakeClock) -> None:
    import os

    old = str(submit(jobs=1).campaign.id)
    record(ctx, [result(job_id(old, 1))])
    finish_ended(ctx)
    model = store_model(ctx, [b"bytes"], "unused.onnx").sha256
    clock.advance(31 * 86_400)
    os.utime(path_of(ctx, model), (clock.now().timestamp() - 31 * 86_400,) * 2)
    running = str(submit(jobs=1).campaign.id)

    def prune(**more: Any) -> dict[str, Any]:
        answer = api.post("/api/prune", json={"older_than_s": 30 * 86_400} | more)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    shown = prune()
    assert (shown["removed"], shown["more"]) == (False, False)
    assert [one["campaign_id"] for one in shown["campaigns"]] == [old]
    assert [one["name"] for one in shown["models"]] == ["unused.onnx"]
    assert shown["size"] == sum(one["size"] for one in (*shown["campaigns"], *shown["models"])) > 5
    assert prune(models=False, campaigns=False)["size"] == 0
    assert prune() == shown, "nothing was removed"
    assert prune(confirm=True) == shown | {"removed": True}
    assert prune(confirm=True)["size"] == 0
    assert [one["campaign_id"] for one in api.get("/api/campaigns").json()["campaigns"]] == [running]
    assert not path_of(ctx, model).exists()


def test_pruning_needs_an_age(api: httpx.Client) -> None:
    for body in ({}, {"older_than_s": -1}, {"older_than_s": 10, "yes": True}):
        assert api.post("/api/prune", json=body).status_code == 422


def test_the_logs_of_a_job_that_the_campaign_does_not_have_are_not_found(api: httpx.Client, campaign: str, submit: Submit) -> None:
    other = str(submit(jobs=1).campaign.id)
    for job, said in ((f"{campaign}-job-12", "no job has the id"), (f"{other}-job-1", f"campaign {campaign} has no job")):
        answer = api.get(f"/api/campaigns/{campaign}/logs?job={job}")
        assert answer.status_code == 404, job
        assert said in answer.json()["detail"]
