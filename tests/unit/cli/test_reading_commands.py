"""Tests the commands that follow and list campaigns, jobs and workers, in this process."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client
from cli.commands import run as commands
from cli.main import app
from cli.pages import html_page
from shared.errors import InvalidInput
from shared.installation import how_to_call
from shared.jobs import outcome
from tests.unit.cli.scripted_server import ScriptedServer
from tests.unit.cli.test_commands import CAMPAIGN, ROW

Run = Callable[..., tuple[int, str, str]]
RECIPE = "model: https://example.org/m.onnx\non: [cpu.onnx]\n"


def counted(status: str = "completed", **counts: int) -> dict[str, Any]:
    breakdown = {"pending": 0, "running": 0, "complete": 0, "failed": 0, "cancelled": 0} | counts
    numbers = {"total_jobs": sum(breakdown.values()), "completed_jobs": breakdown["complete"], "failed_jobs": breakdown["failed"]}
    return CAMPAIGN | numbers | {"status": status, "job_breakdown": breakdown, "reported_at": "2026-03-01T12:00:00Z", "labels": {}}


@pytest.fixture
def run(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command against the scripted server. Returns its exit code, its output and its messages."""
    monkeypatch.setenv("FLEETMARK_HOST", server.url)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = app(list(arguments), standalone_mode=False)
        said = capsys.readouterr()
        return code or 0, said.out, said.err

    return command


def followed(server: ScriptedServer, campaign: dict[str, Any], **row: Any) -> None:
    server.on("GET /api/campaigns/campaign-1", campaign)
    server.on("GET /api/jobs", {"count": 1, "jobs": CAMPAIGN["jobs"], "next_cursor": None})
    server.on("GET /api/campaigns/campaign-1/results", json.dumps(ROW | row).encode() + b"\n", content_type="application/x-ndjson")


@pytest.mark.parametrize(
    ("campaign", "fail_on", "reasons"),
    [
        (counted(complete=3), "", []),
        (counted(complete=2, failed=1), "", ["1 job failed"]),
        (counted(failed=3), "cancelled", ["3 jobs failed", "no job is complete"]),
        (counted("cancelled", complete=2, cancelled=1), "", ["the campaign was cancelled"]),
        (counted(cancelled=2), "", ["no job is complete"]),
        (counted(complete=2, cancelled=1), "", []),
        (counted(complete=2, cancelled=1), "failed, cancelled", ["1 cancelled job (--fail-on cancelled)"]),
        (counted(complete=1), "noisy", ["1 noisy result (--fail-on noisy)"]),
    ],
)
def test_the_exit_code_says_whether_a_campaign_went_well(
    run: Run, server: ScriptedServer, campaign: dict[str, Any], fail_on: str, reasons: list[str]
) -> None:
    followed(server, campaign, NoiseGrade="noisy")
    code, _, said = run("watch", "campaign-1", *(["--fail-on", fail_on] if fail_on else []))
    assert code == bool(reasons)
    assert [line for line in said.splitlines() if "exit code" in line] == [f"exit code 1: {reason}" for reason in reasons]
    assert f"{how_to_call('report', 'campaign-1', '--open')}   ({server.url}/api/campaigns/campaign-1/report)" in said


def test_conditions_are_given_several_times_or_as_a_list(run: Run, server: ScriptedServer) -> None:
    followed(server, counted(complete=1, cancelled=1), NoiseGrade="noisy")
    code, _, said = run("watch", "campaign-1", "--fail-on", "noisy", "--fail-on", "cancelled,failed")
    assert (code, said.count("exit code 1:")) == (1, 2)
    with pytest.raises(InvalidInput, match="did you mean 'noisy'"):
        run("watch", "campaign-1", "--fail-on", "nosy")


def test_a_time_limit_leaves_the_campaign_running(run: Run, server: ScriptedServer, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)
    server.on("POST /api/campaigns", {"campaign_id": "campaign-1", "total_jobs": 1, "warnings": []}, status=201)
    followed(server, counted("running", running=1))
    code, _, said = run("run", str(recipe), "--timeout", "0", "--wait-for-device")
    assert code == 1
    assert "0 s are over" in said
    assert "fleetmark watch campaign-1" in said
    assert "fleetmark stop campaign-1" in said
    assert json.loads(server.requests[0].body)["wait_for_device"] is True
    assert not any("cancel" in request.path for request in server.requests)


def test_a_time_limit_that_is_no_number_submits_nothing(run: Run, server: ScriptedServer, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)
    for arguments in (("run", str(recipe)), ("watch", "campaign-1")):
        with pytest.raises(InvalidInput, match="--timeout nan is no number of seconds"):
            run(*arguments, "--timeout", "nan")
    assert server.requests == []


def test_without_workers_the_advice_works_from_where_the_user_stands(run: Run, server: ScriptedServer) -> None:
    server.on("GET /api/workers", {"count": 0, "workers": []})
    _, _, said = run("workers")
    assert f"On this machine:  {how_to_call('worker start')} --host {server.url}" in said
    assert "--bind 0.0.0.0" in said, "another device cannot reach a loopback address"


def test_ctrl_c_says_that_the_campaign_goes_on(run: Run, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "follow", interrupted)
    code, _, said = run("watch", "campaign-1")
    assert code == 130
    assert f"The campaign goes on. Follow it again:  {how_to_call('watch', 'campaign-1')}" in said
    assert "fleetmark stop campaign-1" in said


def test_lists_say_how_much_they_show_and_how_to_go_on(run: Run, server: ScriptedServer) -> None:
    page = {"count": 1, "total": 230, "jobs": CAMPAIGN["jobs"], "next_cursor": "campaign-1-job-1"}
    server.on("GET /api/jobs", page)
    code, shown, said = run("jobs", "--limit", "1", "--status", "complete")
    assert (code, "campaign-1-job-1" in shown) == (0, True)
    assert said == f"1 of 230. The next:  {how_to_call('jobs')} --status complete --limit 1 --cursor campaign-1-job-1\n"
    assert server.requests[-1].query == {"limit": "1", "status": "complete"}
    server.on("GET /api/campaigns", {"count": 1, "total": 2, "campaigns": [counted(failed=3)], "next_cursor": "campaign-1"})
    _, shown, said = run("list", "-n", "1", "--label", "branch=a b", "--cursor", "campaign-2")
    assert "completed, 3 of 3 failed" in shown
    assert said == f"1 of 2. The next:  {how_to_call('list')} --label 'branch=a b' --limit 1 --cursor campaign-1\n"
    assert server.requests[-1].query == {"label": "branch=a b", "limit": "1", "cursor": "campaign-2"}
    with pytest.raises(InvalidInput, match="name=value"):
        run("list", "--label", "branch")


def test_the_ids_of_campaigns_are_printed_alone_for_scripts(run: Run, server: ScriptedServer) -> None:
    page = {"count": 2, "total": 7, "campaigns": [counted(), counted() | {"campaign_id": "campaign-0"}], "next_cursor": "campaign-0"}
    server.on("GET /api/campaigns", page)
    code, shown, said = run("list", "--ids", "--limit", "2")
    assert (code, shown) == (0, "campaign-1\ncampaign-0\n")
    assert said.startswith("2 of 7. The next:")
    server.on("GET /api/campaigns", page | {"count": 1, "campaigns": [counted()]})
    assert run("list", "--ids", "--limit", "1") == (0, "campaign-1\n", "")


@pytest.mark.parametrize(
    ("sweep", "devices", "says"),
    [
        ("sweep: {options.threads: [1, 2], options.batch_size: [1, 8]}\n", "", "values: 4; each of them is one job on each compute unit"),
        ("", "", "devices: each job goes to a device that is free"),
        ("", "devices: one\n", "devices: the first device that is free takes all jobs"),
        ("", "devices: [a, b]\n", "devices: a, b; each of them measures all combinations"),
    ],
)
def test_a_recipe_that_is_checked_is_explained_in_sentences(run: Run, tmp_path: Path, sweep: str, devices: str, says: str) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE + sweep + devices)
    code, shown, _ = run("validate", str(tmp_path / "r.yaml"))
    assert code == 0
    assert says in shown
    assert "the worker fetches it, or the orchestrator knows it" in shown


def test_a_list_is_read_in_pages_that_end_where_it_was_asked_to(server: ScriptedServer) -> None:
    items = [{"job_id": f"job-{number}"} for number in range(1_500)]
    server.on("GET /api/jobs", {"jobs": items[:1_000], "next_cursor": "job-999"}, {"jobs": items[1_000:], "next_cursor": None})
    with Client(server.url) as client:
        listed = client.listed("jobs", "jobs", 2_000, status="failed", worker=None)
    assert (len(listed.items), listed.total, listed.more) == (1_500, None, None)
    assert [request.query for request in server.requests] == [
        {"status": "failed", "limit": "1000"},
        {"status": "failed", "limit": "1000", "cursor": "job-999"},
    ]


def test_workers_show_what_was_measured_last_of_their_devices(run: Run, server: ScriptedServer) -> None:
    worker = {"worker_id": "worker-1", "device_name": "pi-5", "status": "active", "capabilities": ["hardware.cpu"], "current_job": None}
    cpu = {"capability": "hardware.cpu", "device": "", "measured_at": "2026-11-30", "peak_gb_per_s": 24.123, "fp32_tflops": 0.152}
    nonsense: list[Any] = [None, {"measured": 5}, {"measured": [None, {"peak_gb_per_s": "fast"}, {"capability": 7}]}]
    others = [worker | {"worker_id": f"worker-{index + 2}", "metrics": metrics} for index, metrics in enumerate(nonsense)]
    server.on("GET /api/workers", {"count": 4, "workers": [worker | {"metrics": {"measured": [cpu]}}, *others]})
    text = run("workers")[1]
    assert "Measured" in text.splitlines()[0]
    assert "cpu 24.1 GB/s, 0.152 TFLOP/s fp32" in " ".join(text.split())
    server.on("GET /api/workers", {"count": 3, "workers": others})
    assert "Measured" not in run("workers")[1]


def test_workers_are_removed_and_reset(run: Run, server: ScriptedServer) -> None:
    server.on("DELETE /api/workers/worker-1", {"worker_id": "worker-1", "status": "gone"})
    server.on("PUT /api/workers/worker-1/reset", {"worker_id": "worker-1", "status": "active", "message": "…"})
    assert run("workers", "remove", "worker-1")[:2] == (0, "worker-1: gone\n")
    assert json.loads(run("workers", "reset", "worker-1", "--json")[1])[0]["status"] == "active"
    server.on("GET /api/workers", {"count": 0, "workers": []})
    assert json.loads(run("workers", "--status", "gone", "--json")[1]) == []


def test_services_are_listed_and_one_is_stopped(run: Run, server: ScriptedServer) -> None:
    service = {
        "service_id": "campaign-1-job-1.1",
        "type": "redis",
        "state": "healthy",
        "address": "redis://127.0.0.1:7001",
        "version": "valkey-server 9.1.2",
        "device_name": "pi-5",
        "started_at": "2026-11-30T07:00:00.000Z",
    }
    server.on("GET /api/services", {"count": 1, "services": [service]})
    text = " ".join(run("services")[1].split())
    assert "campaign-1-job-1.1" in text
    assert "redis://127.0.0.1:7001" in text
    assert json.loads(run("services", "--json")[1]) == [service]
    stopped = {"service_id": "campaign-1-job-1.1", "job_id": "campaign-1-job-1", "status": "stopping"}
    server.on("POST /api/services/campaign-1-job-1.1/stop", stopped)
    assert "campaign-1-job-1.1 is being stopped, and campaign-1-job-1 is cancelled." in run("services", "stop", "campaign-1-job-1.1")[2]
    server.on("POST /api/services/campaign-1-job-1.1/stop", stopped | {"job_cancelled": False})
    assert "being stopped, and campaign-1-job-1 has already ended." in run("services", "stop", "campaign-1-job-1.1")[2]
    server.on("GET /api/services", {"count": 0, "services": []})
    assert "No worker runs a service." in run("services")[2]


PAGE = "# A page\n\n| a | b |\n| - | - |\n| 1 | <b>2</b> |\n\n![Medians](plots/medians.png)\n"


@pytest.fixture
def reported(server: ScriptedServer) -> ScriptedServer:
    server.on("GET /api/campaigns/campaign-1", counted(complete=1) | {"reported_at": None}, counted(complete=1))
    server.on("GET /api/campaigns/campaign-1/report.md", PAGE.encode(), content_type="text/markdown")
    server.on("GET /api/campaigns/campaign-1/report.json", b'{"format": 1}')
    server.on("GET /api/campaigns/campaign-1/artifacts/plots/medians.png", b"picture", content_type="application/octet-stream")
    return server


def test_a_report_is_printed_or_written_as_one_file(run: Run, reported: ScriptedServer, tmp_path: Path) -> None:
    assert run("report", "campaign-1")[1] == PAGE
    assert json.loads(run("report", "campaign-1", "--json")[1]) == {"format": 1}
    for ending, wanted in ((".md", PAGE), (".json", '{"format": 1}')):
        assert run("report", "campaign-1", "-o", str(tmp_path / f"r{ending}"))[:2] == (0, "")
        assert (tmp_path / f"r{ending}").read_text() == wanted
    with pytest.raises(InvalidInput, match=r"use \.html, \.md or \.json"):
        run("report", "campaign-1", "-o", "report.pdf")


def test_a_report_is_opened_with_its_pictures_in_it(
    run: Run, reported: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("report", "campaign-1", "--open")[0] == 0
    (file,) = tmp_path.rglob("*.html")
    assert opened == [file.as_uri()]
    page = file.read_text()
    assert f'src="data:image/png;base64,{base64.b64encode(b"picture").decode()}" alt="Medians"' in page
    assert "<td>&lt;b&gt;2&lt;/b&gt;</td>" in page


def test_a_page_loads_nothing_from_elsewhere() -> None:
    asked: list[str] = []
    page = html_page(
        "![x](https://evil.example/x.png) <script>1</script> [y](javascript:alert(1))", "a <title>", lambda name: asked.append(name)
    )
    assert asked == ["https://evil.example/x.png"]
    assert 'src=""' in page
    assert "<script>" not in page
    assert "javascript:" not in page.replace("[y](javascript:alert(1))", "")
    assert "<title>a &lt;title&gt;</title>" in page


def test_an_outcome_says_what_went_wrong() -> None:
    assert outcome("completed", 3, 0, 0) == "completed"
    assert outcome("completed", 3, 3, 0) == "completed, 3 of 3 failed"
    assert outcome("completed", 4, 1, 2) == "completed, 1 of 4 failed, 2 of 4 cancelled"
    assert outcome("cancelled", 3, 1, 2) == "cancelled, 1 of 3 failed"
    assert outcome("running", 3, 1, 0) == "running, 1 of 3 failed"
