"""Tests that any bytes in a queue are either a valid message or refused. A valid message is unchanged after writing and reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared.protocol.messages import REPORT, Assignment
from tests.fuzz.budget import tried
from tests.fuzz.values import JSON, damaged, written
from tests.integration.reports import handed_back, result, started
from tests.unit.worker.results import assignment
from tests.unit.worker.test_tasks import COMPLETE, House, house

JOB = "campaign-0123456789abcdefgh-job-1"


def plain(message: BaseModel) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(message.model_dump_json())
    return content


REPORTS = st.sampled_from(
    [plain(started(JOB)), plain(handed_back(JOB)), plain(result(JOB)), plain(result(JOB, status="failed", error="x"))]
)
ASSIGNMENTS = st.sampled_from([plain(assignment())])


def assert_survives(report: BaseModel) -> None:
    """Check that an accepted message can be stored and is the same when it is read again."""
    text = report.model_dump_json()
    json.dumps(report.model_dump(mode="json"), allow_nan=False).encode()
    assert type(report).model_validate_json(text) == report


@tried(200)
@given(st.binary(max_size=200) | JSON.map(written).map(str.encode) | st.integers(1, 100_000).map(lambda depth: b"[" * depth))
def test_any_bytes_are_no_report(content: bytes) -> None:
    for reader in (REPORT.validate_json, Assignment.model_validate_json):
        with pytest.raises(ValidationError):
            reader(content)


@tried(300)
@given(damaged(REPORTS).map(written))
def test_a_damaged_report_is_refused_or_can_be_kept(text: str) -> None:
    try:
        report = REPORT.validate_json(text)
    except ValidationError:
        return
    assert_survives(report)


@tried(200)
@given(damaged(ASSIGNMENTS).map(written))
def test_a_damaged_assignment_is_refused_or_can_be_kept(text: str) -> None:
    try:
        given_to = Assignment.model_validate_json(text)
    except ValidationError:
        return
    assert_survives(given_to)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder: Path = tmp_path_factory.mktemp("spool")
    return house(folder, COMPLETE, ["cancelled"])


@tried(200)
@given(args=st.lists(damaged(ASSIGNMENTS) | JSON, max_size=2), kwargs=st.dictionaries(st.text(max_size=5), JSON, max_size=1))
def test_a_worker_keeps_what_is_no_assignment_and_says_why(worker: House, args: list[Any], kwargs: dict[str, Any]) -> None:
    worker.broker.letters.clear()
    said = worker.task(tuple(args), kwargs)
    assert all(reason for reason, _ in worker.broker.letters)
    if said in ("dropped: cancelled", "2 dropped: cancelled"):  # it still names its jobs, and these are marked as cancelled in Redis
        assert JOB in written(args)
    else:
        assert said == "dead letter"
        assert len(worker.broker.letters) == 1
