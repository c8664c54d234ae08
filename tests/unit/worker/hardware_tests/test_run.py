from __future__ import annotations

import os

import pytest

from shared.errors import DeviceFailed, EngineUnavailable
from worker.hardware_tests.base import Reading, Readings, Share
from worker.hardware_tests.run import Run, run_here, run_in_fresh_process, without_brakes


class OtherTest:
    """Returns a figure of its own, because two tests may not have one of the same name."""

    def run(self, share: Share) -> Readings:
        return Readings((Reading("other_us", "us", "lower", 1.0),), {"share_s": share.seconds})


def test_a_fresh_process_measures_and_hands_back_the_readings() -> None:
    run = run_in_fresh_process("fake", ("known",), 5, os.environ)
    assert run.tests["known"].value("known_gb_per_s") == 11.0
    assert run.tests["known"].facts["share_s"] == pytest.approx(5, abs=0.5)
    assert Run.from_json(run.as_json()) == run


def test_the_time_is_divided_by_the_weights_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.hardware_tests import registry

    entry = registry.TESTS["fake"]["known"]
    heavy = registry.TestEntry(f"{__name__}:OtherTest", weight=3.0)
    monkeypatch.setitem(registry.TESTS, "fake", {"one": entry, "other": heavy})
    found = run_here("fake", ("one", "other"), 40)
    assert found["one"].facts["share_s"] == pytest.approx(10, abs=0.5)
    assert found["other"].facts["share_s"] == pytest.approx(40, abs=0.5)  # the first test took no time


def test_what_makes_a_library_slower_than_the_device_is_removed_and_said() -> None:
    environment = {"OPENBLAS_CORETYPE": "Prescott", "PATH": "/bin"}
    assert without_brakes("hardware.cpu", ("flops",), environment) == ({"PATH": "/bin"}, {"OPENBLAS_CORETYPE": "Prescott"})
    assert without_brakes("fake", ("known",), environment) == (environment, {})


def test_a_process_that_fails_is_an_error_with_its_last_words() -> None:
    environment = dict(os.environ) | {"PYTHONIOENCODING": "no such encoding"}
    with pytest.raises(DeviceFailed, match=r"the hardware tests of fake ended with exit code 1: .*"):
        run_in_fresh_process("fake", ("known",), 5, environment)


def test_an_unknown_test_is_refused_before_a_process_is_started() -> None:
    with pytest.raises(EngineUnavailable, match="fake has no test 'unknown'"):
        run_in_fresh_process("fake", ("unknown",), 5, {})
