from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain.waiting import waiting_for

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PENDING: dict[str, Any] = {"status": "pending", "queue": None, "dispatched": False, "not_before": None, "lane_reason": "", "now": NOON}
NAMES = {"worker-1abc": "pi-5"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "running"}, None),
        ({"status": "failed", "lane_reason": "waiting for a worker with cpu.onnx"}, None),
        ({"lane_reason": "waiting for a worker with cpu.onnx"}, "waiting for a worker with cpu.onnx"),
        ({}, "waiting for room in the queue: jobs before it go first"),
        ({"not_before": NOON + timedelta(seconds=65)}, "waiting until 12:01:05 UTC for its next attempt"),
        ({"not_before": NOON - timedelta(seconds=65)}, "waiting for room in the queue: jobs before it go first"),
        ({"queue": "cpu.onnx", "dispatched": True}, "waiting in the queue cpu.onnx until a worker is free"),
        ({"queue": "worker.worker-1abc", "dispatched": True}, "waiting in its queue until pi-5 is free"),
        ({"queue": "worker.worker-gone", "dispatched": True}, "waiting in its queue until worker-gone is free"),
    ],
)
def test_a_pending_job_says_what_it_waits_for(changes: dict[str, Any], expected: str | None) -> None:
    assert waiting_for(**PENDING | changes, names=NAMES) == expected
