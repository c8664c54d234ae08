"""Three seeds of `make chaos`: whatever is killed, stopped or wiped, every job ends once, and nothing is left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import draw
from tests.chaos.seed import run


@pytest.mark.alone
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_campaign_survives_chaos(seed: int, tmp_path: Path) -> None:
    verdict = run(draw(seed), tmp_path / f"seed-{seed}")
    assert not verdict.problems, verdict.report()
    assert sum(verdict.done.values()) + len(verdict.missed) == len(verdict.plan)
