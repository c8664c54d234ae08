from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import DeviceFailed, EngineUnavailable
from worker.hardware_tests import registry
from worker.hardware_tests.base import Reading, Readings, Share
from worker.hardware_tests.run import BROKEN, Run, run_here, run_in_fresh_process, without_brakes
from worker.interpreter import ROOT
from worker.plug_ins import BrokenPlugIn


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


MADE: dict[str, Any] = {"name": "speed_gb_per_s", "unit": "GB/s", "better": "higher", "value": 1.0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"unit": ""}, "speed_gb_per_s has no unit; a count of anything has the unit '1'"),
        ({"name": "speed"}, "speed is in GB/s; rename it, so that its name ends with _gb_per_s"),
        ({"better": "more"}, "speed_gb_per_s: better is 'more'; write one of lower, higher"),
        ({"value": math.nan}, "speed_gb_per_s is nan, which is no finite number; a value that cannot be measured is None"),
        ({"calls": (1.0, math.inf)}, "speed_gb_per_s is inf, which is no finite number"),
        ({"value": "fast"}, "speed_gb_per_s is 'fast', which is no finite number"),
        ({"value": None}, "speed_gb_per_s has no value; say in `missing` why"),
    ],
)
def test_a_reading_that_cannot_be_a_figure_is_refused_where_it_is_made(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Reading(**{**MADE, **wrong})


class Wrong:
    does: Any = None

    def run(self, share: Share) -> Any:
        return self.does()


@pytest.mark.parametrize(
    ("does", "kind", "said"),
    [
        (lambda: Reading(**{**MADE, "unit": ""}), BrokenPlugIn, "has a mistake: ValueError: speed_gb_per_s has no unit"),
        (lambda: None, BrokenPlugIn, "has a mistake: `run` returned None, and must return Readings"),
        (lambda: MADE["colour"], BrokenPlugIn, "has a mistake: KeyError: 'colour'"),
        (lambda: Readings((Reading(**MADE), Reading(**MADE))), BrokenPlugIn, "returns speed_gb_per_s more than once; rename it there"),
        (lambda: Path("/no/such/file").read_text(), DeviceFailed, "failed: FileNotFoundError"),
        (lambda: sys.exit(3), DeviceFailed, "failed: SystemExit: 3"),
    ],
)
def test_a_mistake_of_a_test_is_told_from_a_failure_of_the_device(
    monkeypatch: pytest.MonkeyPatch, does: Callable[[], Any], kind: type[Exception], said: str
) -> None:
    """A failure of the device is tried again, and puts the device into quarantine in the end. A mistake is the same everywhere."""
    monkeypatch.setattr(Wrong, "does", staticmethod(does))
    monkeypatch.setitem(registry.TESTS["fake"], "wrong", registry.TestEntry(f"{__name__}:Wrong"))
    with pytest.raises(kind, match=f"the test 'wrong' of fake {said}"):
        run_here("fake", ("wrong",), 1.0)


def test_a_test_that_only_the_fresh_process_does_not_know_is_the_same_error_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TESTS["fake"], "wrong", registry.TestEntry("absent:Wrong"))
    with pytest.raises(BrokenPlugIn, match=r"fake has no test 'wrong'"):
        run_in_fresh_process("fake", ("wrong",), 1.0, os.environ)


OWN = """
class Own:
    def run(self, share):
        {body}
"""
REGISTERED = """
import sys
sys.path.insert(0, {root!r})
from worker.hardware_tests import registry
registry.TESTS["fake"]["own"] = registry.TestEntry("own_test:Own")
"""
# PyTorch's message for a CUDA error has lines of advice after the cause.
CUDA_ERROR = "CUDA error: an illegal memory access was encountered\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"


def run_own(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test in a fresh process that knows it, because Python imports `sitecustomize` when it starts."""
    (folder / "own_test.py").write_text(OWN.format(body=body))
    (folder / "sitecustomize.py").write_text(REGISTERED.format(root=str(ROOT)))
    monkeypatch.setitem(registry.TESTS["fake"], "own", registry.TestEntry("own_test:Own"))
    return run_in_fresh_process("fake", ("own",), 1.0, dict(os.environ) | {"PYTHONPATH": str(folder)})


def test_a_mistake_in_the_fresh_process_is_the_same_error_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BrokenPlugIn, match=r"^the test 'own' of fake has a mistake: KeyError: 'colour'$"):
        run_own("return {}['colour']", tmp_path, monkeypatch)


def test_a_failure_of_several_lines_in_the_fresh_process_keeps_its_test_and_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DeviceFailed) as failed:
        run_own(f"raise RuntimeError({CUDA_ERROR!r})", tmp_path, monkeypatch)
    assert failed.value.detail == (
        "the hardware tests of fake ended with exit code 1: the test 'own' of fake failed: RuntimeError: CUDA error: an illegal memory "
        "access was encountered For debugging consider passing CUDA_LAUNCH_BLOCKING=1"
    )


def test_a_test_that_ends_its_process_is_no_mistake_whatever_its_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The exit code `BROKEN` says that a test has a mistake, and a test may choose the same number by chance."""
    with pytest.raises(DeviceFailed, match=r"exit code 1: the test 'own' of fake failed: SystemExit: 3"):
        run_own(f"raise SystemExit({BROKEN})", tmp_path, monkeypatch)


def test_an_unknown_test_is_refused_before_a_process_is_started() -> None:
    with pytest.raises(EngineUnavailable, match="fake has no test 'unknown'"):
        run_in_fresh_process("fake", ("unknown",), 5, {})
