from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from cli.client import Client
from cli.errors import EXIT_UNREACHABLE, EXIT_USAGE, ApiError, Away, exit_code
from cli.watching import BARS, LONG_WAIT, PATIENCE_S, watch
from shared.clock import FakeClock
from tests.unit.cli.scripted_server import Answer, ScriptedServer

AWAY = Answer(503, {"error": "Unavailable", "detail": "Redis does not answer"})
DONE = {"campaign_id": "campaign-1", "status": "completed", "total_jobs": 0, "job_breakdown": {}}


def test_an_orchestrator_whose_redis_is_away_for_a_while_is_waited_for(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["GET /api/campaigns/campaign-1"] = [AWAY, Answer(502, b"<html>", "text/html"), AWAY, Answer(200, DONE)]
    server.on("GET /api/jobs", {"jobs": [], "next_cursor": None})
    with Client(server.url) as client:
        assert watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))["status"] == "completed"
    assert "Redis does not answer; waiting" in capsys.readouterr().err


def test_an_orchestrator_whose_redis_stays_away_is_given_up_with_its_own_words(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.watching.POLL_S", PATIENCE_S / 10)  # each round asks a real server
    server.answers["GET /api/campaigns/campaign-1"] = [AWAY]
    clock = FakeClock(datetime(2026, 11, 25, tzinfo=UTC))
    began = clock.monotonic()
    with Client(server.url) as client, pytest.raises(Away, match="Redis does not answer") as caught:
        watch(client, "campaign-1", clock)
    assert exit_code(caught.value) == EXIT_UNREACHABLE
    assert clock.monotonic() - began >= PATIENCE_S


def test_what_is_refused_is_not_waited_for(server: ScriptedServer) -> None:
    with Client(server.url) as client, pytest.raises(ApiError) as caught:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    assert exit_code(caught.value) == EXIT_USAGE


def test_a_pending_job_says_what_it_waits_for_and_a_running_one_on_which_device(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    running = DONE | {"status": "running", "total_jobs": 2, "job_breakdown": {"pending": 1, "running": 1}}
    job: dict[str, Any] = {"model": "m.onnx", "compute_unit": "cpu.onnx", "options": {}, "error": None}
    waits = {"job_id": "campaign-1-job-2", "status": "pending", "waiting_for": "waiting for a worker with gpu.cuda.onnx"}
    runs = {"job_id": "campaign-1-job-1", "status": "running", "worker_id": "worker-1abc", "device": "lab", "progress": 0.3}
    server.on("GET /api/campaigns/campaign-1", running, DONE | {"total_jobs": 2})
    server.on("GET /api/jobs", {"jobs": [job | runs | {"stage": "repeat 1 of 1: measuring"}, job | waits], "next_cursor": None})
    with Client(server.url) as client:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    said = capsys.readouterr().err
    assert "m.onnx on cpu.onnx of lab: repeat 1 of 1: measuring" in said
    assert "m.onnx on cpu.onnx: pending: waiting for a worker with gpu.cuda.onnx" in said


def test_following_ends_when_its_time_is_over(server: ScriptedServer) -> None:
    server.on("GET /api/campaigns/campaign-1", DONE | {"status": "running"})
    server.on("GET /api/jobs", {"count": 0, "jobs": [], "next_cursor": None})
    clock = FakeClock(datetime(2026, 11, 25, tzinfo=UTC))
    began = clock.monotonic()
    with Client(server.url) as client:
        assert watch(client, "campaign-1", clock, timeout_s=10.1)["status"] == "running"
    assert clock.monotonic() - began == pytest.approx(10.1)


def test_a_large_campaign_is_followed_on_a_terminal_while_its_running_jobs_change(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("cli.watching.err", Console(file=screen, force_terminal=True, width=200))
    counts = {"pending": BARS - 1, "running": 2, "complete": 0, "failed": 0, "cancelled": 0}
    campaign = DONE | {"name": "nightly", "total_jobs": BARS + 1, "job_breakdown": counts}
    server.on("GET /api/campaigns/campaign-1", *[campaign | {"status": status} for status in ("running", "running", "completed")])
    job: dict[str, Any] = {
        "compute_unit": "cpu.onnx",
        "options": {},
        "error": None,
        "status": "running",
        "stage": "loading",
        "progress": 0.3,
    }
    listed = [job | {"job_id": f"campaign-1-job-{number}", "model": f"m{number}.onnx"} for number in range(4)]
    pages = [[listed[0], listed[1]], [listed[1], listed[2]], [listed[2], listed[3]]]  # one running job ends between two requests
    server.on("GET /api/jobs", *[{"jobs": page, "next_cursor": None} for page in pages])
    with Client(server.url) as client:
        assert watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))["status"] == "completed"
    assert "m3.onnx on cpu.onnx" in screen.getvalue()


@pytest.mark.parametrize("width", [60, 80, 119, 120, 200])
def test_no_percentage_is_cut_short_however_narrow_the_terminal_is(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("cli.watching.err", Console(file=screen, force_terminal=True, width=width))
    job: dict[str, Any] = {"compute_unit": "cpu.onnx", "error": None, "status": "running", "stage": "repeat 6 of 6: measuring"}
    jobs = [
        job | {"job_id": f"campaign-1-job-{size}", "model": "fp32.onnx", "options": {"threads": 2, "batch_size": size}, "progress": 0.87}
        for size in (1, 16)
    ]
    campaign = DONE | {"name": "nightly", "total_jobs": 2}
    server.on("GET /api/campaigns/campaign-1", campaign | {"status": "running"}, campaign)
    server.on("GET /api/jobs", {"jobs": jobs, "next_cursor": None})
    with Client(server.url) as client:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    bars = [line for line in lines if "fp32" in line][-2:]
    assert len(bars) == 2
    assert all("87 %" in line and "repeat 6 of 6: measuring" in line for line in bars)
    assert max(map(len, bars)) <= width


@pytest.mark.parametrize(("looks", "times"), [(LONG_WAIT - 1, 0), (LONG_WAIT + 5, 1)])
def test_a_long_wait_is_explained_once_in_full_where_its_column_is_too_narrow(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], looks: int, times: int
) -> None:
    monkeypatch.setattr("cli.watching.err", Console(file=io.StringIO(), force_terminal=True, width=80))
    reason = "waiting for a worker with gpu.cuda.onnx and at least 16 GB of GPU memory"
    job: dict[str, Any] = {
        "compute_unit": "gpu.cuda.onnx",
        "error": None,
        "status": "pending",
        "waiting_for": reason,
        "model": "m.onnx",
        "options": {},
    }
    jobs = [job | {"job_id": f"campaign-1-job-{number}"} for number in (1, 2)]
    campaign = DONE | {"name": "nightly", "total_jobs": 2}
    server.on("GET /api/campaigns/campaign-1", *[campaign | {"status": "running"}] * (looks - 1), campaign)
    server.on("GET /api/jobs", {"jobs": jobs, "next_cursor": None})
    with Client(server.url) as client:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    assert capsys.readouterr().err.count(reason) == times


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> io.StringIO:
    """Give the command line a terminal, and return what is written to it."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width)
    for module in ("cli.watching", "cli.terminal"):
        monkeypatch.setattr(f"{module}.err", console)
    return screen


def lines_of(screen: io.StringIO) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()


LARGE = DONE | {"name": "nightly-sweep", "total_jobs": 1_000}
LONG_NAMES: dict[str, Any] = {
    "model": "a-model-with-a-name-of-forty-characters.onnx",
    "compute_unit": "cpu.onnx",
    "options": {},
    "error": None,
    "status": "running",
    "stage": "repeat 1 of 3: measuring",
    "progress": 0.3,
}


@pytest.mark.parametrize("width", [60, 80, 119, 120])
def test_every_count_of_a_large_campaign_is_shown_however_narrow_the_terminal_is(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    screen = on_a_terminal(monkeypatch, width)
    counts = {"pending": 980, "running": 2, "complete": 13, "failed": 5, "cancelled": 0}
    campaign = LARGE | {"job_breakdown": counts}
    server.on("GET /api/campaigns/campaign-1", campaign | {"status": "running"}, campaign)
    jobs = [LONG_NAMES | {"job_id": f"campaign-1-job-{number}"} for number in (1, 2)]
    server.on("GET /api/jobs", {"jobs": jobs, "next_cursor": None})
    with Client(server.url) as client:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    shown = " ".join(" ".join(lines_of(screen)).split())
    assert "980 pending, 2 running, 13 complete, 5 failed" in shown
    assert max(map(len, lines_of(screen))) <= width


@pytest.mark.parametrize("running", [0, 2])
def test_the_reason_of_an_outage_is_shown_once_in_full_on_a_narrow_terminal(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, running: int
) -> None:
    screen = on_a_terminal(monkeypatch, 80)
    why = "Redis does not answer: Connection refused. Start it, or correct FLEETMARK_REDIS_URL"
    away = Answer(503, {"error": "Unavailable", "detail": why})
    counts = {"pending": 1_000 - running, "running": running, "complete": 0, "failed": 0, "cancelled": 0}
    campaign = Answer(200, LARGE | {"status": "running", "job_breakdown": counts})
    done = Answer(200, LARGE | {"job_breakdown": counts})
    server.answers["GET /api/campaigns/campaign-1"] = [campaign, away, away, away, campaign, away, away, done]
    server.on("GET /api/jobs", {"jobs": [LONG_NAMES | {"job_id": f"campaign-1-job-{n}"} for n in range(running)], "next_cursor": None})
    with Client(server.url) as client:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    assert " ".join(" ".join(lines_of(screen)).split()).count(f"{why}; waiting") == 2, "once in each outage"


def test_an_outage_before_the_first_answer_is_told_on_a_terminal(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_a_terminal(monkeypatch, 80)
    server.answers["GET /api/campaigns/campaign-1"] = [AWAY, AWAY, Answer(200, DONE)]
    server.on("GET /api/jobs", {"jobs": [], "next_cursor": None})
    with Client(server.url) as client:
        watch(client, "campaign-1", FakeClock(datetime(2026, 11, 25, tzinfo=UTC)))
    assert "\n".join(lines_of(screen)).count("Redis does not answer; waiting") == 1
