"""Tests that `fleetmark logs` and `fleetmark prune` send the right request to the orchestrator, and show its answer."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.durations import duration
from cli.main import app
from shared.errors import InvalidInput
from tests.unit.cli.scripted_server import ScriptedServer

CAMPAIGN = "campaign-0123456789abcdefgh"
LINE = {
    "time": "2026-03-01T12:00:00+00:00",
    "level": "warning",
    "source": "system",
    "job": f"{CAMPAIGN}-job-3",
    "attempt": 2,
    "message": "hot",
}


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("1.5h", 5_400), ("90 m", 5_400), ("2w", 1_209_600), ("0s", 0)])
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert duration(text, "--since") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1y", "1d2h", "", "١d"])
def test_another_text_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"--older-than .* is no duration"):
        duration(text, "--older-than")


def run(server: ScriptedServer, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--host", server.url])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_lines_are_shown_with_their_job_and_level(server: ScriptedServer) -> None:
    server.on(f"GET /api/campaigns/{CAMPAIGN}/logs", LINE)
    code, said = run(server, "logs", f"{CAMPAIGN}-job-3", "--level", "warning", "--source", "system", "--source", "benchmark")
    assert code == 0
    assert "warning job 3.2 system: hot" in said
    [asked] = [request.query for request in server.requests]
    assert asked == {"job": f"{CAMPAIGN}-job-3", "level": "warning", "source": "benchmark"}, "the last of the sources; nothing is followed"


def test_json_lines_are_passed_on(server: ScriptedServer) -> None:
    server.on(f"GET /api/campaigns/{CAMPAIGN}/logs", LINE)
    code, said = run(server, "logs", CAMPAIGN, "--json", "--since", "2026-03-01T12:00:00+00:00")
    assert (code, json.loads(said)) == (0, LINE)


@pytest.mark.parametrize("since", ["800000d", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+10:00"])
def test_a_moment_outside_of_the_calendar_is_wrong_usage(server: ScriptedServer, since: str) -> None:
    done = CliRunner().invoke(app, ["logs", CAMPAIGN, "--since", since, "--host", server.url])
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.detail == f"--since '{since}' lies outside of the years 1 to 9999"


@pytest.mark.parametrize("token", ["a\nb", "é", "two words"])
def test_what_cannot_be_a_token_is_refused_before_any_call_and_is_not_repeated(server: ScriptedServer, token: str) -> None:
    done = CliRunner().invoke(app, ["logs", CAMPAIGN, "--token", token, "--host", server.url])
    assert isinstance(done.exception, InvalidInput)
    assert done.exception.detail == "--token: a token is printable ASCII without spaces"
    assert server.requests == []


def test_the_archive_is_written_whole(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(f"GET /api/campaigns/{CAMPAIGN}/logs.tar.gz", {"not": "really an archive"})
    code, said = run(server, "logs", CAMPAIGN, "--download", "-o", str(tmp_path / "logs.tar.gz"))
    assert (code, [path.name for path in tmp_path.iterdir()]) == (0, ["logs.tar.gz"])
    assert "Wrote" in said


CAMPAIGNS = [{"campaign_id": CAMPAIGN, "name": "n", "ended_at": "2026-03-01T12:00:00Z", "jobs": 3, "size": 2**20, "left": ""}]
FOUND = {"removed": False, "campaigns": CAMPAIGNS, "models": [], "size": 2**20, "more": False}


def test_pruning_shows_first_and_removes_with_yes(server: ScriptedServer) -> None:
    server.on("POST /api/prune", FOUND)
    code, said = run(server, "prune", "--older-than", "30d")
    assert code == 0
    assert "Would remove 1 campaigns and 0 models, 1.0 MB" in said
    assert "fleetmark prune --older-than 30d --yes" in said
    server.on("POST /api/prune", FOUND | {"more": True}, FOUND)
    code, said = run(server, "prune", "--older-than", "30d", "--yes")
    assert code == 0
    assert "Removed 2 campaigns and 0 models, 2.0 MB" in said


def test_files_that_stay_are_told_and_fail_the_command(server: ScriptedServer) -> None:
    server.on("POST /api/prune", FOUND | {"campaigns": [CAMPAIGNS[0] | {"left": "Permission denied: plots"}]})
    code, said = run(server, "prune", "--older-than", "30d", "--yes")
    assert (code, "Permission denied" in said) == (1, True)
