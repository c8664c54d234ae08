"""Tests the names of capabilities: what new work may ask for, and what stored work may contain."""

from __future__ import annotations

import pytest

from shared.capabilities import RUNNABLE, WITHOUT_ENGINE, known_names, require_runnable, resolve, runnable_names
from shared.errors import InvalidInput


@pytest.mark.parametrize("name", [*RUNNABLE, "CPU (ONNX)", "GPU (ONNX)", "GPU (CoreML)"])
def test_what_an_engine_runs_may_be_asked_for(name: str) -> None:
    require_runnable(name)
    assert name in runnable_names()
    assert set(resolve(name)) <= set(RUNNABLE)


@pytest.mark.parametrize("name", list(WITHOUT_ENGINE))
def test_what_no_engine_runs_is_refused_by_its_name_and_still_read(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        require_runnable(name)
    assert caught.value.detail == f"this version has no engine for {name}; it has: {', '.join(RUNNABLE)}"
    assert name not in runnable_names()
    assert name in known_names()
    assert set(resolve(name)) <= set(WITHOUT_ENGINE)


def test_a_misspelt_name_is_told_the_nearest_that_can_be_run() -> None:
    with pytest.raises(InvalidInput, match=r"unknown compute unit 'cpu\.onx': did you mean 'cpu\.onnx'\?") as caught:
        require_runnable("cpu.onx")
    assert not [name for name in WITHOUT_ENGINE if name in caught.value.detail]
