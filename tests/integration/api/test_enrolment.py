"""Tests that a device is registered only after it has everything that it needs, and that it leaves in the way it was told to."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted
from orchestrator.registry.logins import LoginsNotMade
from shared.capabilities import worker_queue
from shared.errors import Conflict, Unavailable
from shared.ids import worker_id_of
from shared.workers import WorkerStatus
from tests.integration.api.conftest import serving

DEVICE = {"device_name": "pi", "capabilities": ["cpu.onnx"], "device_info": {"UDID": "pi"}}


@pytest.mark.parametrize("step", ["login", "key"])
def test_a_device_that_cannot_be_given_its_key_or_login_is_not_entered_and_gets_no_job(
    ctx: Context, submit: Callable[..., Submitted], register: Callable[..., str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    worker = register("pi")
    submit(jobs=2, device="pi")
    ctx.registry.remove(worker)
    ctx.queue.purge([worker_queue(worker)])

    def refuse(*_: Any) -> Any:
        raise LoginsNotMade("Redis made no login") if step == "login" else Unavailable("the database does not answer")

    monkeypatch.setattr(ctx.registry.logins, "give", refuse)
    if step == "key":
        monkeypatch.setattr("orchestrator.api.workers.report_key_for", refuse)
    with_logins = dataclasses.replace(ctx, settings=ctx.settings.model_copy(update={"broker_logins": True}))
    with serving(with_logins) as api:
        assert api.post("/api/register", json=DEVICE).status_code >= 500
    assert ctx.registry.get(worker).status is WorkerStatus.GONE
    assert ctx.queue.depths([worker_queue(worker)]) == {worker_queue(worker): 0}


def test_a_device_is_entered_under_the_id_that_its_key_is_for(ctx: Context, api: httpx.Client) -> None:
    named = api.post("/api/register", json=DEVICE).json()
    assert (named["worker_id"], named["action"]) == (worker_id_of("pi"), "created")
    nameless = [api.post("/api/register", json=DEVICE | {"device_info": {}}).json() for _ in range(2)]
    assert {one["action"] for one in nameless} == {"created"}
    assert {worker.id for worker in ctx.registry.registered()} == {named["worker_id"], *(one["worker_id"] for one in nameless)}


def test_a_reset_brings_no_worker_back_that_leaves_at_the_same_moment(ctx: Context, register: Callable[..., str]) -> None:
    for _ in range(100):
        worker = register("pi")
        leaving = threading.Thread(target=ctx.registry.remove, args=[worker])
        leaving.start()
        with contextlib.suppress(Conflict):
            ctx.registry.reset(worker)
        leaving.join()
        assert ctx.registry.get(worker).status is WorkerStatus.GONE
