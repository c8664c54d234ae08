"""Tests the commands as a script sees them: exit code, standard output and standard error."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.main import app
from tests.command_line import fleetmark
from tests.servers import free_port
from tests.unit.cli.scripted_server import ScriptedServer

QUEUES = {"worker_queues": {}, "capability_queues": {"CPU (ONNX)": 2}, "results_queue_size": 0}
CAMPAIGN: dict[str, Any] = {
    "campaign_id": "campaign-1",
    "name": "nightly",
    "status": "completed",
    "total_jobs": 1,
    "completed_jobs": 1,
    "failed_jobs": 0,
    "created_at": "2026-03-01T12:00:00+00:00",
    "job_breakdown": {"pending": 0, "running": 0, "complete": 1, "failed": 0, "cancelled": 0},
    "jobs": [{"job_id": "campaign-1-job-1", "model": "m.onnx", "compute_unit": "CPU (ONNX)", "status": "complete"}],
}
ROW = {"Status": "Complete", "FileName": "m.onnx", "InferenceMsMedian": 1.5, "Inferences": 10}


def process(*arguments: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own. This is for commands that replace their process, and for tests of the process itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETMARK_")} | variables
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=folder, timeout=60, stdin=subprocess.DEVNULL
    )


def test_no_orchestrator_is_exit_code_3_and_one_sentence() -> None:
    ended = process("list", "--host", f"http://127.0.0.1:{free_port()}")
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: the orchestrator at http://127.0.0.1:")
    assert "Traceback" not in ended.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert fleetmark("list", "--nonsense").returncode == 2
    assert fleetmark("nonsense").returncode == 2


def test_an_invalid_recipe_is_exit_code_2_with_every_mistake_and_its_line(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("model: https://example.org/m.onnx\non: [cpu.onnxx]\ninferences: 0\nrepeatz: 3\n")
    ended = fleetmark("run", str(recipe), host=f"http://127.0.0.1:{free_port()}")
    assert ended.returncode == 2
    for words in ("line 2", "did you mean 'cpu.onnx'", "line 3", "line 4", "did you mean 'repeats'"):
        assert words in ended.stderr
    as_json = fleetmark("validate", str(recipe), "--json")
    assert as_json.returncode == 2
    assert {field["path"] for field in json.loads(as_json.stdout)["fields"]} == {"on.0", "inferences", "repeatz"}


def test_a_valid_recipe_is_exit_code_0(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("model: https://example.org/m.onnx\non: [cpu.onnx]\n")
    ended = fleetmark("validate", str(recipe), "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["recipe"] == {"model": "https://example.org/m.onnx", "on": ["cpu.onnx"]}


def test_validate_says_which_keys_have_no_effect(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("service: {type: redis, partition: cpu}\n")
    said = "`service.partition` has no effect: the work runs on a registered worker, and not as the job of a cluster"
    assert f"warning: {said}" in " ".join(fleetmark("validate", str(recipe)).stderr.split())
    assert json.loads(fleetmark("validate", str(recipe), "--json").stdout)["warnings"] == [said]


def test_an_address_that_is_none_is_exit_code_2() -> None:
    ended = fleetmark("list", "--host", "ftp://lab")
    assert ended.returncode == 2
    assert "no address of an orchestrator" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["doctor"], {"FLEETMARK_REDIS_URL": "redis://:SECRET/x@127.0.0.1:6379/0"}),
        (["doctor"], {"FLEETMARK_DATABASE_URL": "postgresql://user:SECRET/x@127.0.0.1/name"}),
        (["flower", "--redis-url", "redis://:SECRET/x@127.0.0.1:6379/0"], {}),
        (["redis-acl", "--redis-url", "redis://:SECRET#x@127.0.0.1:6379/0"], {}),
        (["worker", "test", "--redis-url", "redis://:SECRET/x@127.0.0.1:6379/0"], {}),
        (["list", "--host", "http://user:SECRET/x@127.0.0.1"], {}),
    ],
)
def test_an_address_whose_password_makes_it_unreadable_is_refused_without_it(
    arguments: list[str], variables: dict[str, str], tmp_path: Path
) -> None:
    run = process if arguments[0] == "worker" else fleetmark
    ended = run(*arguments, folder=tmp_path, **variables)
    assert ended.returncode == 2
    assert "address" in ended.stderr
    assert "SECRET" not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_variable_that_cannot_be_used_is_named() -> None:
    ended = fleetmark("list", FLEETMARK_PORT="many")
    assert ended.returncode == 2
    assert "FLEETMARK_PORT" in ended.stderr


def test_json_is_all_there_is_on_standard_output(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/campaigns", {"count": 1, "campaigns": [CAMPAIGN], "next_cursor": None})
    server.on("GET /api/campaigns/campaign-1", CAMPAIGN)
    server.on("GET /api/workers", {"count": 0, "workers": []})
    server.on("GET /api/queue/status", QUEUES)
    server.on("GET /api/jobs", {"count": 1, "jobs": CAMPAIGN["jobs"], "next_cursor": None})
    monkeypatch.setenv("FLEETMARK_HOST", server.url)
    shown = {}
    for arguments in (["list"], ["show", "campaign-1"], ["workers"], ["queues"], ["jobs"]):
        app([*arguments, "--json"], standalone_mode=False)
        shown[arguments[0]] = json.loads(capsys.readouterr().out)
    assert shown == {"list": [CAMPAIGN], "show": CAMPAIGN, "workers": [], "queues": QUEUES, "jobs": CAMPAIGN["jobs"]}


def test_show_says_what_a_running_job_does_at_the_moment(server: ScriptedServer) -> None:
    job = CAMPAIGN["jobs"][0] | {"status": "running", "options": {}}
    server.on("GET /api/campaigns/campaign-1", CAMPAIGN | {"status": "running", "jobs": [job]})
    server.on("GET /api/jobs/campaign-1-job-1", {"job": job | {"stage": "fetching", "progress": 0.42}, "result": None})
    ended = fleetmark("show", "campaign-1", host=server.url)
    assert ended.returncode == 0
    assert "fetching, 42%" in ended.stdout


def test_jobs_are_listed_by_a_figure_with_its_interval(server: ScriptedServer) -> None:
    figure = {"name": "inference_ms", "value": 5.0321, "low": 4.9, "high": 5.1, "unit": "ms", "better": "lower"}
    job = CAMPAIGN["jobs"][0] | {"options": {}, "figure": figure}
    server.on("GET /api/jobs", {"count": 1, "total": 7, "jobs": [job], "next_cursor": "campaign-1-job-1"})
    ended = fleetmark("jobs", "--sort", "inference_ms", "--limit", "1", host=server.url)
    assert ended.returncode == 0, ended.stderr
    assert server.requests[-1].query == {"sort": "inference_ms", "limit": "1"}
    assert "5.032 ms [4.9, 5.1]" in ended.stdout
    assert "fleetmark jobs --sort inference_ms --limit 1 --cursor campaign-1-job-1" in ended.stderr, "the next page is sorted, too"


def test_dead_letters_are_shown_with_their_reasons_and_move_no_terminal(server: ScriptedServer) -> None:
    letter = {"at": "2026-03-01T12:00:00Z", "by": "worker-0", "queue": "cpu.onnx", "reason": "not JSON", "message": "\x1b[2Jcleared\r"}
    server.on("GET /api/queue/status", {**QUEUES, "dead_letters": 3})
    server.on("GET /api/queue/dead-letters", {"count": 1, "total": 3, "dead_letters": [letter]})
    assert "fleetmark queues --dead" in fleetmark("queues", host=server.url).stderr
    shown = fleetmark("queues", "--dead", "--limit", "1", host=server.url)
    assert "not JSON" in shown.stdout
    assert "\\x1b[2Jcleared\\r" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "1 of 3" in shown.stderr
    assert server.requests[-1].query == {"limit": "1"}
    assert json.loads(fleetmark("queues", "--dead", "--json", host=server.url).stdout) == [letter]


def test_tables_are_whole_in_a_pipe(server: ScriptedServer) -> None:
    long = CAMPAIGN | {"name": "a campaign whose name is long enough to be cut by a terminal of eighty columns"}
    server.on("GET /api/campaigns", {"count": 1, "campaigns": [long], "next_cursor": None})
    assert long["name"] in fleetmark("list", host=server.url).stdout


def test_a_device_in_quarantine_is_told_of_with_its_reason(server: ScriptedServer) -> None:
    rest = {"reason": "5 faults within 600 s, the last: worker-1 (pi) fell silent", "until": "2026-03-01T12:00:00Z"}
    worker = {"worker_id": "worker-1", "device_name": "pi", "status": "active", "capabilities": ["cpu.onnx"], "quarantine": rest}
    server.on("GET /api/workers", {"count": 1, "workers": [worker]})
    ended = fleetmark("workers", host=server.url)
    assert "pi is given no work until 2026-03-01" in ended.stdout + ended.stderr
    assert rest["reason"] in ended.stdout + ended.stderr


def test_watching_shows_the_results_and_tells_by_its_exit_code_that_jobs_failed(server: ScriptedServer) -> None:
    running = CAMPAIGN | {"status": "running"}
    server.on("GET /api/campaigns/campaign-1", running, CAMPAIGN | {"failed_jobs": 1})
    server.on("GET /api/jobs", {"count": 1, "jobs": CAMPAIGN["jobs"], "next_cursor": None})
    server.on("GET /api/campaigns/campaign-1/results", json.dumps(ROW).encode() + b"\n", content_type="application/x-ndjson")
    ended = fleetmark("watch", "campaign-1", host=server.url)
    assert ended.returncode == 1
    assert "m.onnx" in ended.stdout
    assert "m.onnx on CPU (ONNX): complete" in ended.stderr


def test_results_are_written_whole_or_not_at_all(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("GET /api/campaigns/campaign-1/results", b"Status,JobId\r\nComplete,1\r\n", content_type="text/csv")
    assert fleetmark("results", "campaign-1", "-o", "r.csv", host=server.url, folder=tmp_path).returncode == 0
    assert (tmp_path / "r.csv").read_bytes() == b"Status,JobId\r\nComplete,1\r\n"
    assert fleetmark("results", "campaign-2", "-o", "other.csv", host=server.url, folder=tmp_path).returncode == 2
    assert [file.name for file in tmp_path.iterdir()] == ["r.csv"]


def test_results_go_to_standard_output_byte_for_byte(server: ScriptedServer) -> None:
    server.on("GET /api/campaigns/campaign-1/results", b"Status,JobId\r\nComplete,1\r\n", content_type="text/csv")
    ended = fleetmark("results", "campaign-1", "--format", "csv", host=server.url)
    assert ended.stdout.splitlines() == ["Status,JobId", "Complete,1"]
    assert server.requests[0].query == {"format": "csv"}


def test_a_table_for_a_spreadsheet_that_reads_by_locale_is_asked_for_by_name(server: ScriptedServer, tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfStatus;JobId\r\nComplete;1\r\n"
    server.on("GET /api/campaigns/campaign-1/results", content, content_type="text/csv")
    ended = fleetmark("results", "campaign-1", "--format", "excel", "-o", "r.csv", host=server.url, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "r.csv").read_bytes() == content
    assert server.requests[0].query == {"format": "excel"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["-o", "r.CSV"], "csv"),
        (["-o", "r.Parquet"], "parquet"),
        (["-o", "results"], "csv"),
        (["-o", "-"], "csv"),
        (["-o", "r.txt", "--format", "jsonl"], "jsonl"),
        (["-o", "r.txt", "--json"], "json"),
    ],
)
def test_the_ending_of_a_file_chooses_its_format(server: ScriptedServer, tmp_path: Path, arguments: list[str], wanted: str) -> None:
    server.on("GET /api/campaigns/campaign-1/results", b"content", content_type="text/csv")
    ended = fleetmark("results", "campaign-1", *arguments, host=server.url, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert server.requests[0].query == {"format": wanted}


@pytest.mark.parametrize("name", ["r.xlsx", "r.parq", "r.txt", "r.excel"])
def test_a_file_whose_ending_means_no_format_is_refused(server: ScriptedServer, tmp_path: Path, name: str) -> None:
    server.on("GET /api/campaigns/campaign-1/results", b"content", content_type="text/csv")
    ended = fleetmark("results", "campaign-1", "-o", name, host=server.url, folder=tmp_path)
    assert ended.returncode == 2
    assert f"no format belongs to the ending of {name}: use one of .csv, .json, .jsonl, .parquet" in ended.stderr
    assert ("Excel opens `--format excel -o r.csv`" in ended.stderr) is (name == "r.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_stopping_several_campaigns_goes_on_after_a_refusal(server: ScriptedServer) -> None:
    server.on("POST /api/campaigns/campaign-1/cancel", {"campaign_id": "campaign-1", "status": "cancelled"})
    ended = fleetmark("stop", "campaign-none", "campaign-1", host=server.url)
    assert ended.returncode == 2
    assert "campaign-1: cancelled" in ended.stdout
    assert "campaign-none" in ended.stderr


def test_listening_to_the_network_without_a_token_is_refused(tmp_path: Path) -> None:
    ended = fleetmark("up", "--bind", "0.0.0.0", folder=tmp_path)
    assert ended.returncode == 2
    assert "FLEETMARK_TOKEN" in ended.stderr
    flower = fleetmark("flower", "--bind", "0.0.0.0", "--redis-url", "redis://127.0.0.1:1/0", folder=tmp_path)
    assert flower.returncode == 2
    assert "FLOWER_BASIC_AUTH" in flower.stderr


def test_flower_without_a_broker_says_where_to_get_one(tmp_path: Path) -> None:
    ended = fleetmark("flower", folder=tmp_path)
    assert ended.returncode == 2
    assert "fleetmark up" in ended.stderr


def test_the_doctor_names_what_is_missing_and_what_mends_it(tmp_path: Path) -> None:
    well = fleetmark("doctor", "--json", folder=tmp_path, host=f"http://127.0.0.1:{free_port()}")
    findings = {finding["what"]: finding for finding in json.loads(well.stdout)}
    assert well.returncode == 0, findings
    assert findings["Redis"]["verdict"] == "ok"
    assert findings["orchestrator"]["verdict"] == "note"
    ill = fleetmark(
        "doctor",
        "--json",
        folder=tmp_path,
        host=f"http://127.0.0.1:{free_port()}",
        FLEETMARK_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
    )
    findings = {finding["what"]: finding for finding in json.loads(ill.stdout)}
    assert ill.returncode == 1
    assert "FLEETMARK_REDIS_URL" in findings["Redis"]["mend"]


def test_everything_after_worker_is_the_workers_own() -> None:
    ended = process("worker", "--help")
    assert ended.returncode == 0
    assert "start" in ended.stdout
    assert "info" in ended.stdout


def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        "up",
        "demo",
        "run",
        "validate",
        "list",
        "show",
        "watch",
        "results",
        "stop",
        "workers",
        "queues",
        "jobs",
        "flower",
        "doctor",
    ):
        app([command, "--help"], standalone_mode=False)
        assert f"fleetmark {command}" in capsys.readouterr().out, command


def test_flower_on_a_taken_port_says_how_to_name_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = fleetmark("flower", "--redis-url", "redis://127.0.0.1:1/0", "--port", port, folder=tmp_path)
    assert ended.returncode != 0
    assert f"port {port} on 127.0.0.1 cannot be used" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr
