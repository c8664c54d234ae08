"""Tests `fleetmark compare` as a script and a reader see it: exit code, text, JSON and Markdown."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from cli.comparisons import markdown, notes, pairs
from cli.errors import ApiError, exit_code
from cli.main import app
from shared.errors import InvalidInput
from tests.unit.cli.scripted_server import ScriptedServer

BASE, NEW = "campaign-01jd9aaaaaaaaaaaaa", "campaign-01jf2bbbbbbbbbbbbb"
PAIR: dict[str, Any] = {
    "title": "squeezenet.onnx, threads=2",
    "device": "lab",
    "compute_unit": "CPU (ONNX)",
    "baseline_job": f"{BASE}-job-1",
    "current_job": f"{NEW}-job-1",
    "verdict": "FAIL",
    "reason": "10.2 % slower, above the threshold of 5 %; p = 0.0022",
    "baseline": 5.0123,
    "current": 5.5236,
    "delta": 0.5113,
    "effect": 0.102,
    "effect_low": 0.081,
    "effect_high": 0.119,
    "confidence": 0.959,
    "p": 0.0022,
    "p_adjusted": 0.0022,
    "baseline_repeats": 6,
    "current_repeats": 6,
    "differences": [],
    "warnings": ["differs: fleetmark (0.1.0 in BASE, 0.2.0 in NEW)"],
}
NO_FIGURES = ("baseline", "current", "delta", "effect", "effect_low", "effect_high", "confidence", "p", "p_adjusted")
UNDECIDED = PAIR | dict.fromkeys(NO_FIGURES) | {"verdict": "INCONCLUSIVE", "reason": "NEW failed: no such operator", "warnings": []}


def campaign(campaign_id: str, name: str = "nightly") -> dict[str, Any]:
    times = {"created_at": "2026-03-01T12:00:00Z", "ended_at": "2026-03-01T12:10:00Z"}
    return {"campaign_id": campaign_id, "name": name, "status": "completed", "total_jobs": 1, **times}


def comparison(verdict: str, *pairs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": 1,
        "verdict": verdict,
        "summary": "more than 5 % slower in 1 of 1 pair",
        "baseline": campaign(BASE),
        "current": campaign(NEW),
        "metric": "inference_ms",
        "unit": "ms",
        "better": "lower",
        "max_regression": 0.05,
        "level": 0.05,
        "allowed": [],
        "method": "how it was decided",
        "counts": {},
        "pairs_total": len(pairs),
        "pairs": list(pairs),
        "only_current_total": 0,
        "only_current": [],
    }
    return content | changes


@pytest.fixture
def orchestrator(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    monkeypatch.setenv("FLEETMARK_HOST", server.url)
    return server


def run(*arguments: str) -> int:
    """Return the exit code of `fleetmark compare`."""
    return int(app(["compare", BASE, NEW, *arguments], standalone_mode=False) or 0)


@pytest.mark.parametrize(("verdict", "code"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 4)])
@pytest.mark.parametrize("form", [(), ("--json",), ("--markdown",)])
def test_the_exit_code_is_the_verdict_in_every_form(orchestrator: ScriptedServer, verdict: str, code: int, form: tuple[str, ...]) -> None:
    orchestrator.on("GET /api/compare", comparison(verdict, PAIR))
    assert run(*form) == code


def test_the_text_has_the_verdict_first_then_the_evidence(orchestrator: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    only = {"only_current_total": 1, "only_current": [{"job_id": "x", "title": "new.onnx", "device": "lab", "compute_unit": "CPU (ONNX)"}]}
    orchestrator.on("GET /api/compare", comparison("FAIL", PAIR, UNDECIDED, **only))
    run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "FAIL: more than 5 % slower in 1 of 1 pair"
    (failed,) = [line for line in lines if "10.2 % slower" in line]
    for part in ("FAIL", "squeezenet.onnx, threads=2", "lab", "5.012", "5.524", "+10.2 %", "+8.1 % to +11.9 %", "0.0022"):
        assert part in failed
    (undecided,) = [line for line in lines if "NEW failed" in line]
    assert undecided.count("—") == 5
    assert "differs: fleetmark (0.1.0 in BASE, 0.2.0 in NEW) (in 1 of 2 pairs)" in lines
    (new,) = [line for line in lines if "new.onnx" in line]
    assert "NEW" in new
    assert "BASE has no such job" in new, "what an orchestrator of an earlier version does not say"


def test_a_narrow_terminal_shows_lines_for_each_pair_instead_of_a_table() -> None:
    screen = Console(width=80, file=io.StringIO(), color_system=None)
    screen.print(pairs(comparison("FAIL", PAIR, UNDECIDED), screen.width))
    assert screen.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "FAIL  squeezenet.onnx, threads=2 · lab · CPU (ONNX)",
        "  5.012 → 5.524 ms, +10.2 % (+8.1 % to +11.9 %), p 0.0022",
        "  10.2 % slower, above the threshold of 5 %; p = 0.0022",
        "INCONCLUSIVE  squeezenet.onnx, threads=2 · lab · CPU (ONNX)",
        "  NEW failed: no such operator",
    ]


def test_json_is_the_answer_of_the_api(orchestrator: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    orchestrator.on("GET /api/compare", comparison("PASS", PAIR))
    run("--json")
    assert json.loads(capsys.readouterr().out) == comparison("PASS", PAIR)


def test_markdown_is_a_table_that_no_name_can_break(orchestrator: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    evil = PAIR | {"title": "a|b <script> `x`\n# y", "device": "[link](http://evil)"}
    orchestrator.on("GET /api/compare", comparison("FAIL", evil, pairs_total=3))
    run("--markdown")
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == "**FAIL**: more than 5 % slower in 1 of 1 pair"
    (row,) = [line for line in lines if line.startswith("| FAIL")]
    assert row.startswith("| FAIL | a\\|b &lt;script&gt; \\`x\\` \\# y | \\[link\\](http://evil) | CPU (ONNX) | 5.012 | 5.524 | +10.2 % | ")
    assert row.replace("\\|", "").count("|") == lines[lines.index(row) - 1].count("|")
    assert "- the first 1 of 3 pairs" in lines
    assert f"inference\\_ms of `{NEW}` (nightly) against the baseline `{BASE}` (nightly, 2026-03-01); threshold 5 %, level 0.05." in text
    assert text == markdown(comparison("FAIL", evil, pairs_total=3))


def test_the_terms_reach_the_api_as_they_were_given(orchestrator: ScriptedServer) -> None:
    orchestrator.on("GET /api/compare", comparison("PASS", PAIR))
    run()
    assert orchestrator.requests[-1].query == {
        "baseline": BASE,
        "current": NEW,
        "max_regression": "5%",
        "level": "0.05",
    }
    run("--max-regression", "3%", "--level", "0.01", "--metric", "load_ms", "--allow-different", "runtime,model")
    asked = orchestrator.requests[-1].query
    assert (asked["max_regression"], asked["level"], asked["metric"]) == ("3%", "0.01", "load_ms")
    assert asked["allow"] == "runtime,model"


@pytest.mark.parametrize("status", [404, 409, 413, 422])
def test_what_the_api_refuses_is_wrong_usage(orchestrator: ScriptedServer, status: int) -> None:
    orchestrator.on("GET /api/compare", {"error": "Refused", "detail": "why"}, status=status)
    with pytest.raises(ApiError, match="why") as refused:
        run()
    assert exit_code(refused.value) == 2


SCORE = {"name": "found_percent", "unit": "%", "better": "higher", "baseline": 75.0, "baseline_low": 40.9, "baseline_high": 92.85}
SCORE |= {"current": 50.0, "current_low": None, "current_high": None}


def test_scores_stand_below_the_table_with_their_intervals(orchestrator: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    said = "found_percent 75 [40.9 to 92.85] → 50 % (higher is better; no test compares it)"
    orchestrator.on("GET /api/compare", comparison("PASS", PAIR | {"scores": [SCORE]}))
    run()
    assert said in capsys.readouterr().out.splitlines()
    run("--markdown")
    assert "- found\\_percent 75 \\[40.9 to 92.85\\] → 50 %" in capsys.readouterr().out
    orchestrator.on("GET /api/compare", comparison("PASS", PAIR | {"scores": [SCORE]}, PAIR | {"title": "b"}))
    run()
    assert f"squeezenet.onnx, threads=2: {said}" in capsys.readouterr().out.splitlines(), "of two pairs, the title says which"


def test_two_forms_at_once_are_refused() -> None:
    with pytest.raises(InvalidInput, match="exclude each other"):
        run("--json", "--markdown")


@pytest.mark.parametrize(("allowed", "said"), [([], True), (["model"], False)])
def test_two_versions_of_a_model_without_counterparts_are_told_of_the_option(allowed: list[str], said: bool) -> None:
    alone = UNDECIDED | {"current_job": None, "reason": "NEW has no job of this work on this device"}
    new = {
        "title": "other.onnx",
        "device": "lab",
        "compute_unit": "CPU (ONNX)",
        "job_id": f"{NEW}-job-1",
        "verdict": "NEW",
        "reason": "only NEW",
    }
    found = comparison("INCONCLUSIVE", alone, only_current=[new], only_current_total=1, allowed=allowed)
    assert any("--allow-different model" in note for note in notes(found)) is said
