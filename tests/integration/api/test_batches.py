"""Tests that a device which cannot reach the results queue can report many jobs at once by REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.api.batches import MOST
from orchestrator.operations.context import Context
from orchestrator.operations.rows import row_of_result
from orchestrator.operations.submit import Submitted
from orchestrator.operations.tokens import create_token
from orchestrator.store.moves import LockedJob
from shared.protocol.messages import Report
from shared.tokens import Role
from tests.integration.api.conftest import serving
from tests.integration.reports import result, started

Submit = Callable[..., Submitted]


def send(api: httpx.Client, worker: str, *reports: Report, **more: Any) -> httpx.Response:
    states = [report.model_copy(update={"worker_id": worker}).model_dump(mode="json") for report in reports]
    return api.post("/api/jobs/batch", json={"worker_id": worker, "states": states}, **more)


@pytest.mark.both_databases
def test_each_state_is_accepted_or_refused_with_its_reason(
    api: httpx.Client, ctx: Context, register: Callable[..., str], submit: Submit
) -> None:
    worker, campaign = register("pi"), submit(jobs=4).campaign.id
    one, two, three, four = (f"{campaign}-job-{number}" for number in (1, 2, 3, 4))
    api.post(f"/api/jobs/{three}/cancel").raise_for_status()
    answer = send(
        api,
        worker,
        started(one),
        result(one),
        started(two),
        result(two, status="failed", error="broken", error_kind="model_invalid"),
        result(three),
        result(four, attempt=7),
        result(f"{campaign}-job-99"),
    )
    body = answer.raise_for_status().json()
    assert (body["worker_id"], body["accepted"], body["refused"]) == (worker, 4, 3)
    assert [(state["job_id"], state["accepted"], state["reason"]) for state in body["states"]] == [
        (one, True, None),
        (one, True, None),
        (two, True, None),
        (two, True, None),
        (three, False, "the job is cancelled, at attempt 1"),
        (four, False, "the job is pending, at attempt 1"),
        (f"{campaign}-job-99", False, "no job has this id"),
    ]
    assert api.get(f"/api/jobs/{one}").json()["result"]["status"] == "Complete"
    assert api.get(f"/api/jobs/{two}").json()["job"]["error"] == "broken"
    assert (ctx.settings.outputs_dir / campaign / "samples" / f"{one}.npz").read_bytes() == b"raw samples"
    again = send(api, worker, started(one), result(one)).json()
    assert [state["accepted"] for state in again["states"]] == [False, True], "a result that comes again is no mistake"


def test_a_state_that_cannot_be_recorded_holds_up_no_other_of_its_batch(
    api: httpx.Client, register: Callable[..., str], submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, campaign = register("pi"), submit(jobs=3).campaign.id
    names = [f"{campaign}-job-{number}" for number in (1, 2, 3)]

    def defective(job: LockedJob, *more: Any) -> Any:  # this stands for a defect that is not known yet
        if job.id == names[1]:
            raise ZeroDivisionError("in a row")
        return row_of_result(job, *more)

    monkeypatch.setattr("orchestrator.operations.record.row_of_result", defective)
    body = send(api, worker, *map(result, names)).raise_for_status().json()
    assert [state["accepted"] for state in body["states"]] == [True, False, True]
    assert body["states"][1]["reason"] == "it cannot be recorded (ZeroDivisionError); the orchestrator's log says why"
    assert [api.get(f"/api/jobs/{name}").json()["job"]["status"] for name in names] == ["complete", "pending", "complete"]


def test_a_batch_is_of_one_registered_worker_and_bounded(api: httpx.Client, register: Callable[..., str], submit: Submit) -> None:
    worker, campaign = register("pi"), submit(jobs=1).campaign.id
    job = f"{campaign}-job-1"
    assert send(api, "worker-nobody", started(job)).status_code == 404
    other = {"worker_id": worker, "states": [started(job, worker_id="worker-other").model_dump(mode="json")]}
    refused = api.post("/api/jobs/batch", json=other).json()
    assert refused["states"][0]["reason"] == f"it is of worker-other, not of {worker}"
    assert api.get(f"/api/jobs/{job}").json()["job"]["status"] == "pending"
    assert send(api, worker, *[started(job)] * MOST).json()["accepted"] == MOST
    assert send(api, worker, *[started(job)] * (MOST + 1)).status_code == 422
    assert send(api, worker).status_code == 422
    bad = started(job, worker_id=worker).model_dump(mode="json") | {"kind": "began"}
    assert api.post("/api/jobs/batch", json={"worker_id": worker, "states": [bad]}).json()["fields"][0]["path"] == "states.0"


@pytest.fixture
def logins(ctx: Context) -> Iterator[tuple[httpx.Client, Context]]:
    with_logins = replace(ctx, settings=ctx.settings.model_copy(update={"broker_logins": True}))
    create_token(ctx, "me", Role.ADMIN)
    with serving(with_logins) as client:
        yield client, with_logins


def test_with_logins_only_the_worker_s_own_token_speaks_for_it(logins: tuple[httpx.Client, Context], submit: Submit) -> None:
    api, ctx = logins
    mine, theirs = (create_token(ctx, name, Role.WORKER)[1] for name in ("mine", "theirs"))
    headers = {"Authorization": f"Bearer {mine}"}
    device = {"device_name": "pi", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "pi"}}
    worker = api.post("/api/register", json=device, headers=headers).raise_for_status().json()["worker_id"]
    job = f"{submit(jobs=1).campaign.id}-job-1"
    assert send(api, worker, started(job), headers={"Authorization": f"Bearer {theirs}"}).status_code == 403
    assert send(api, worker, started(job), headers=headers).json()["accepted"] == 1
