"""Tests how a worker finds out whether language models can really run here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker.generators.probes import answer_once
from worker.generators.registry import GENERATORS, GeneratorEntry, libraries


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    answer_once.cache_clear()
    yield
    answer_once.cache_clear()


def test_a_capability_without_a_generator_runs_no_language_model() -> None:
    assert libraries("cpu.onnx") is None


def test_a_library_that_is_not_installed_is_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, "cpu.torch", GeneratorEntry("x:Y", "extra", ("no_such_library",), probe="tests.no_such_probe"))
    assert libraries("cpu.torch") is None


def test_a_library_that_is_installed_and_does_not_import_is_not_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(GENERATORS, "cpu.torch", GeneratorEntry("x:Y", "transformers", ("json",), probe="tests.no_such_probe"))
    assert libraries("cpu.torch") is None
    assert "language models cannot run here" in caplog.text


def test_the_versions_are_those_that_the_libraries_say_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe runs for real; numpy stands in for a library that imports."""
    monkeypatch.setitem(GENERATORS, "cpu.torch", GeneratorEntry("x:Y", "numpy", ("numpy",), probe="tests.numpy_probe"))
    import numpy

    assert libraries("cpu.torch") == {"numpy": numpy.__version__}
