"""Tests what the threads of the control plane do when a part of their work fails."""

from __future__ import annotations

import pytest

from orchestrator.app import ControlPlane
from orchestrator.settings import Settings
from tests.integration.worker_process import eventually


def test_a_defect_in_the_search_for_leftovers_is_logged_once_and_reports_are_written(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[object] = []
    monkeypatch.setattr("orchestrator.app.REPORTER_IDLE_S", 0.05)
    monkeypatch.setattr("orchestrator.app.finish_ended", written.append)

    def defect(_: object) -> int:
        raise KeyError("a defect that nobody foresaw")

    monkeypatch.setattr("orchestrator.app.sweep_leftovers", defect)
    plane = ControlPlane(settings)
    plane._start("reporter", plane._write_reports)
    try:
        eventually(lambda: len(written) >= 5, "reports are written")
    finally:
        plane.stop()
    assert [line.getMessage() for line in caplog.records if line.exc_info] == [
        "abandoned uploads could not be looked for; the next try is in 3600 s"
    ]
