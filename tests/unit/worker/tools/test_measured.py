"""Tests what becomes of the phases of a tool, and of the distributions that it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.errors import JobCancelled
from worker.load.arrivals import Shape
from worker.load.figures import outcome_of
from worker.load.plan import ClientPlan, PhasePlan
from worker.tools.base import ToolRun
from worker.tools.fake import FakeTool
from worker.tools.measured import measured_of, run_phases
from worker.tools.outcome import of_tool


class EarlyInTheSecond(FakeTool):
    """Is told to end early in the phase `select` alone."""

    def run(self, phase: Any, on_news: Any, ends_early: Any) -> ToolRun:
        self._settings = {**self._settings, "early": phase.name == "select"}
        return super().run(phase, on_news, ends_early)


def phases(tool: FakeTool, folder: Path, lead_s: float) -> tuple[list[str], str]:
    """Return the phases that are kept, and why others are not. Each has ten requests of 1 ms."""
    made = tuple(PhasePlan(name, {"ask": 1.0}, Shape(), 10, None, lead_s) for name in ("insert", "select"))
    plan = ClientPlan("fake", "", {}, made, 1, 0, 1, "seed", 1.0, str(folder))
    runs: list[ToolRun] = []
    why = run_phases(tool, [plan], runs, lambda _share, _news: None, lambda: False)
    return [made[number].name for number in range(len(runs))], why


def test_a_phase_that_ends_before_its_window_begins_is_left_out_and_the_result_says_so(tmp_path: Path) -> None:
    tool = EarlyInTheSecond("", {"took_ms": [1.0] * 10}, {})
    assert phases(tool, tmp_path, lead_s=0.02) == (["insert"], "the phase select was ended before its measured window began")
    assert phases(tool, tmp_path, lead_s=0.005) == (["insert", "select"], "the phase select was ended early")


def test_a_tool_that_is_told_to_end_during_its_warm_up_has_measured_nothing(tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        phases(FakeTool("", {"took_ms": [1.0] * 10, "early": True}, {}), tmp_path, lead_s=1.0)


def test_phases_that_ran_to_their_end_are_all_kept(tmp_path: Path) -> None:
    assert phases(FakeTool("", {}, {}), tmp_path, lead_s=0.0) == (["insert", "select"], "")


def test_a_printed_distribution_of_each_operation_becomes_the_requests_of_that_operation() -> None:
    steps = {"set": [[1.0, 2], [4.0, 3]], "get": [[0.5, 6]]}
    known: dict[str, Any] = {
        "runs": [],
        "prints": [{"phase": "mixed", "window_s": 2.0, "steps": steps, "printed": {"avg in ms": 1.25}, "stopped": ""}],
        "operations": ["get", "set"],
        "tool": {"name": "memtier_benchmark", "commands": ["memtier"], "printed": [{}]},
    }
    phases = measured_of(known, {"phases": [{"name": "mixed", "duration_s": None}], "load": {"rate": 10.0}})
    found = outcome_of([phases], service_type="redis", operations=known["operations"], concurrency=2, ceiling_per_s=None)
    assert {name: (one["requests"], one["latency_ms_p50"]) for name, one in found.detail["by_operation"].items()} == {
        "get": (6, 0.5),
        "set": (3, 1.0),
    }
    told = {figure.name: figure for figure in of_tool(found, [known], rate=10.0).figures}
    assert (told["requests_per_s"].value, told["latency_ms_avg"].value) == (4.5, 1.25)
    assert told["rate_asked"].missing == "memtier_benchmark limits the rate of a closed loop, so no request has a scheduled moment"
    closed = {figure.name: figure for figure in of_tool(found, [known]).figures}
    assert closed["rate_asked"].missing == "a closed loop has no schedule"
