"""Tests that the verdict of the report is shown below the table as soon as the report is written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cli.client import Client
from cli.verdicts import MAX_SHOWN, WAIT_S, show_verdicts
from shared.clock import FakeClock
from tests.unit.cli.scripted_server import ScriptedServer

REPORT = "GET /api/campaigns/campaign-1/report.json"
SWEEP = {"question": "yolo.onnx", "verdict": "for latency, batch 1 is best [x]", "measured": 6}
ALONE = {"question": "other.onnx", "verdict": "only lab measured it", "measured": 1}


def shown_by(server: ScriptedServer, capsys: pytest.CaptureFixture[str], clock: FakeClock | None = None) -> str:
    with Client(server.url) as client:
        show_verdicts(client, "campaign-1", clock or FakeClock(datetime(2026, 1, 1, tzinfo=UTC)))
    return " ".join(capsys.readouterr().out.split())


def test_a_question_with_several_results_is_answered(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.on(REPORT, {"answers": [ALONE, SWEEP]})
    assert shown_by(server, capsys) == "yolo.onnx: for latency, batch 1 is best [x]."


@pytest.mark.parametrize(
    ("questions", "last"), [(MAX_SHOWN, "question 10: said."), (MAX_SHOWN + 2, "question 10: said. The report has 2 more.")]
)
def test_answers_that_are_not_shown_are_counted(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], questions: int, last: str
) -> None:
    answers = [{"question": f"question {number}", "verdict": "said", "measured": 2} for number in range(1, questions + 1)]
    server.on(REPORT, {"answers": [ALONE, *answers]})
    text = shown_by(server, capsys)
    assert text.startswith("question 1: said. question 2: said. ")
    assert text.endswith(last)


@pytest.mark.parametrize("content", [{"format": 1, "fastest": []}, {"answers": []}])
def test_a_report_without_answers_shows_nothing(server: ScriptedServer, capsys: pytest.CaptureFixture[str], content: Any) -> None:
    server.on(REPORT, content)
    assert shown_by(server, capsys) == ""


def test_an_orchestrator_without_this_call_shows_nothing(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert shown_by(server, capsys, clock) == ""
    assert clock.monotonic() < WAIT_S


def test_a_report_that_is_being_written_is_waited_for_but_not_for_long(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    late = {"error": "Conflict", "detail": "the files are being written"}
    server.on(REPORT, late, status=409)
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    begin = clock.monotonic()
    with Client(server.url) as client:
        show_verdicts(client, "campaign-1", clock)
    assert "the report is still being written" in " ".join(capsys.readouterr().err.split())
    assert WAIT_S <= clock.monotonic() - begin < WAIT_S + 1
