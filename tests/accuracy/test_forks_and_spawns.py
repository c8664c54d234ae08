"""Tests that the benchmark of forked repeats detects zygotes that differ, and only those, on simulated data with known spread."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import forks_and_spawns

SIMULATED = 200
ZYGOTES, FORKS = 8, 8


@pytest.fixture(autouse=True)
def _few_regroupings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks_and_spawns, "REGROUPINGS", 400)


def shares(between: float) -> NDArray[np.float64]:
    """Return what the test says about simulated benchmarks on a machine that becomes 30 % slower.

    Forks vary by 1.5 %, and zygotes by `between`.
    """
    random = np.random.default_rng(11)
    slower = np.linspace(0.0, 0.3, FORKS)
    noise = random.normal(0.0, 0.015, (SIMULATED, ZYGOTES, FORKS)) + random.normal(0.0, between, (SIMULATED, ZYGOTES, 1))
    return np.array([forks_and_spawns.share_of_regroupings(one + slower) for one in noise])


def test_equal_zygotes_are_called_different_as_often_as_the_level_says() -> None:
    assert (shares(0.0) < 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SIMULATED)


def test_zygotes_that_differ_as_much_as_forks_do_are_found() -> None:
    assert (shares(0.015) < forks_and_spawns.LEVEL).mean() >= 0.8
