"""Tests the tables of the script that makes an environment for each library that is not in that of the other tests."""

from __future__ import annotations

from pathlib import Path

from tools.engine_tests import CONTRACTS, LIBRARIES, USED, VARIABLES, WITHOUT

ROOT = Path(__file__).parents[2]


def test_each_environment_has_what_the_script_looks_up_for_it() -> None:
    assert set(USED) == set(LIBRARIES)
    assert {*WITHOUT, *VARIABLES, *CONTRACTS} <= set(LIBRARIES)


def test_each_environment_has_tests_and_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in LIBRARIES:
        assert list((ROOT / "tests" / "engines" / name).glob("test_*.py")), name
        assert f"\ntest-{name}: " in makefile, name
