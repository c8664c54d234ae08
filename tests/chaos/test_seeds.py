"""Tests three seeds of `make chaos` and one plan that was written by hand.

Whatever is killed, stopped or wiped, every job ends once, and nothing is left over. `make test` runs ten seconds of a seed on a locked
system, because a locked system does everything that an open one does, and more. The complete seeds, in which each kind of fault occurs at
least once, have the marker `long`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import draw, read
from tests.chaos.seed import run


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_small_campaign_survives_the_beginning_of_a_seed(tmp_path: Path) -> None:
    verdict = run(draw(3, faults=12, length_s=10.0), tmp_path / "seed-3", locked=True, forties=2)
    assert not verdict.problems, verdict.report()
    assert sum(verdict.done.values()) + len(verdict.missed) == len(verdict.plan) == 12


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("seed", "locked"),
    [(1, False), (2, False), (3, True)],
)
def test_a_campaign_survives_chaos(seed: int, locked: bool, tmp_path: Path) -> None:
    verdict = run(draw(seed), tmp_path / f"seed-{seed}", locked=locked)
    assert not verdict.problems, verdict.report()
    assert sum(verdict.done.values()) + len(verdict.missed) == len(verdict.plan)


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_database_from_a_backup_runs_again_what_it_does_not_know_to_have_ended(tmp_path: Path) -> None:
    verdict = run(read("2.0 restore postgres 6.0"), tmp_path / "backup")
    assert not verdict.problems, verdict.report()
    assert (verdict.done["restore"], verdict.jobs["complete"]) == (1, 200)
    assert verdict.attempts > 210, "some had ended and did it again"
