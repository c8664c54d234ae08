"""Tests the names of capabilities: what new work may ask for, and what stored work may contain."""

from __future__ import annotations

import pytest

from shared.capabilities import LABELS, known_names, resolve
from shared.errors import InvalidInput


@pytest.mark.parametrize("name", [*LABELS, "CPU (ONNX)", "GPU (ONNX)", "GPU (CoreML)"])
def test_what_an_engine_runs_may_be_asked_for(name: str) -> None:
    resolve(name)
    assert name in known_names()
    assert set(resolve(name)) <= set(LABELS)


def test_a_misspelt_name_is_told_the_nearest_that_can_be_run() -> None:
    with pytest.raises(InvalidInput, match=r"unknown compute unit 'cpu\.onx': did you mean 'cpu\.onnx'\?"):
        resolve("cpu.onx")
