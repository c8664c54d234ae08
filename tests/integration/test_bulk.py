"""Tests that rows which share their columns are inserted as they were asked for, in any number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import Session, col

from orchestrator.operations.context import Context
from orchestrator.operations.submit import Submitted
from orchestrator.store.bulk import BATCH, insert_copies
from orchestrator.store.tables import Job
from shared.ids import job_id
from tests.integration.conftest import NOON

pytestmark = pytest.mark.both_databases

Submit = Callable[..., Submitted]


def test_each_row_has_the_columns_of_its_template_and_its_own_values_in_every_batch(ctx: Context, submit: Submit) -> None:
    campaign = submit(jobs=1).campaign.id
    rows = BATCH + 3  # the templates of the second batch are others than those of the first
    templates = [
        _template(ctx, campaign, text) for text in ("never used", "a 'quoted' \\ text: ü", 'a "second" one', "of the second batch")
    ]
    template_of = [1 + number % 2 if number < BATCH else 3 for number in range(rows)]
    numbers = [number + 2 for number in range(rows)]
    own: dict[str, list[Any]] = {
        "id": [job_id(campaign, number) for number in numbers],
        "number": numbers,
        "position": [9 * number for number in numbers],
    }

    ctx.store.transact(lambda session: insert_copies(session, Job, templates, template_of, own))

    with ctx.store.read() as session:
        found = session.scalars(select(Job).where(col(Job.number) > 1).order_by(col(Job.number))).all()
        session.expunge_all()
    assert [(job.id, job.number, job.position) for job in found] == list(zip(*own.values(), strict=True))
    assert [(job.model_name, job.workload, job.created_at) for job in found] == [
        (text["model_name"], text["workload"], NOON) for text in (templates[place] for place in template_of)
    ]


def _template(ctx: Context, campaign: str, text: str) -> dict[str, Any]:
    def lane(session: Session) -> int:
        return int(session.execute(select(col(Job.lane_id)).where(col(Job.campaign_id) == campaign)).scalar_one())

    with ctx.store.read() as session:
        lane_id = lane(session)
    return {
        "campaign_id": campaign,
        "lane_id": lane_id,
        "compute_unit": "cpu.onnx",
        "priority": 5,
        "status": "pending",
        "attempt": 1,
        "max_attempts": 1,
        "losses": 0,
        "deaths": 0,
        "workload": {"text": text, "numbers": [1, 2.5, None]},
        "model_name": text,
        "created_at": NOON,
    }
