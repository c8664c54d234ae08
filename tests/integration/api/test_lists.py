"""Tests lists of jobs that are read page by page: their order, and the totals that they state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from orchestrator.operations.context import Context
from orchestrator.operations.record import record
from orchestrator.operations.submit import Submitted
from orchestrator.store import job_lists
from shared.clock import FakeClock
from tests.integration.reports import WORKER, result, started

Submit = Callable[..., Submitted]


def pages(api: httpx.Client, **query: Any) -> tuple[list[str], list[int | None]]:
    """Return the ids of all jobs of a list that is read two at a time, and the totals that its pages name."""
    ids: list[str] = []
    totals: list[int | None] = []
    while True:
        page = api.get("/api/jobs", params={"limit": 2, **query}).raise_for_status().json()
        ids += [job["job_id"] for job in page["jobs"]]
        totals.append(page["total"])
        if page["next_cursor"] is None:
            return ids, totals
        query["cursor"] = page["next_cursor"]


@pytest.mark.both_databases
def test_the_newest_jobs_come_first_and_each_list_says_how_long_it_is(
    api: httpx.Client, ctx: Context, submit: Submit, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = submit(jobs=3).campaign.id
    clock.advance(60)
    new = submit(jobs=2).campaign.id
    newest_first = [f"{new}-job-2", f"{new}-job-1", f"{old}-job-3", f"{old}-job-2", f"{old}-job-1"]
    assert pages(api) == (newest_first, [5, 5, 5])
    assert pages(api, campaign=old) == ([f"{old}-job-1", f"{old}-job-2", f"{old}-job-3"], [3, 3])
    record(ctx, [started(f"{old}-job-2"), result(f"{old}-job-2"), started(f"{new}-job-1"), result(f"{new}-job-1")])
    assert pages(api, status="complete") == ([f"{new}-job-1", f"{old}-job-2"], [2])
    assert pages(api, status="pending", campaign=old) == ([f"{old}-job-1", f"{old}-job-3"], [2])
    assert pages(api, worker=WORKER, status="complete") == ([f"{new}-job-1", f"{old}-job-2"], [2])
    since = (clock.now() - timedelta(seconds=30)).isoformat()
    assert pages(api, since=since) == ([f"{new}-job-2", f"{new}-job-1"], [2])
    monkeypatch.setattr(job_lists, "MOST_COUNTED", 1)
    assert pages(api, worker=WORKER) == ([f"{new}-job-1", f"{old}-job-2"], [None])
    assert pages(api, campaign=f"campaign-{'0' * 18}") == ([], [0])
