from __future__ import annotations

import pytest

from tests.chaos.plan import EACH, draw, read, written


def test_a_seed_is_the_same_plan_for_ever() -> None:
    assert draw(1) == draw(1) != draw(2)
    assert str(draw(1)[0]) == "0.37       stop      runner-3    1.4"


def test_a_plan_that_was_printed_can_be_replayed() -> None:
    plan = draw(7, faults=100, length_s=60)
    assert read("# seed 7\n\n" + written(plan)) == plan


@pytest.mark.parametrize("seed", range(1, 21))
def test_every_plan_has_each_kind_of_fault_for_each_target(seed: int) -> None:
    assert {(fault.kind, fault.target.partition("-")[0]) for fault in draw(seed)} == set(EACH)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1.0 kill worker-1", "line 2, '1.0 kill worker-1': a fault is four words"),
        ("soon kill worker-1 2", "line 2, 'soon kill worker-1 2'"),
        ("1.0 kill worker-9 2", "there is no 'worker-9'; there are worker-1"),
        ("1.0 wipe postgres 2", "postgres knows no 'wipe'; it knows kill, stop, quit, cut"),
    ],
)
def test_a_line_that_is_no_fault_is_named(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(f"0.5 kill api 1\n{line}\n")
