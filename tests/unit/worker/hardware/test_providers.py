from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from worker.hardware.probe import probe
from worker.interpreter import ROOT

TRY = "from worker.hardware.providers import _try; print(_try('CPUExecutionProvider')['error'])"


def test_a_provider_is_tried_by_the_code_that_asks_and_not_by_what_is_installed(tmp_path: Path) -> None:
    for package in ("worker", "shared"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "worker" / "hardware" / "probe.py").open("a") as file:
        file.write("\n\ndef probe(provider):\n    return {'error': 'tried by the copy'}\n")
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {TRY}"]
    tried = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert tried.stdout == "tried by the copy\n", tried.stdout + tried.stderr


def test_an_error_without_a_text_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert probe("CPUExecutionProvider")["error"] == "RuntimeError"
