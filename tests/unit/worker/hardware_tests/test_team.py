from __future__ import annotations

from threading import Barrier, current_thread, get_ident
from time import sleep

import pytest

from worker.hardware_tests.base import Share
from worker.hardware_tests.team import Team


def test_a_round_lasts_until_its_slowest_thread_has_ended() -> None:
    team = Team(3, lambda number: {"wait": lambda: sleep(0.02 * (number + 1))})
    rounds = team.run(Share(0), least_rounds=2)["wait"]
    assert len(rounds) == 2
    assert all(0.06 <= taken < 0.5 for taken in rounds)


def test_all_threads_are_inside_a_kernel_at_once() -> None:
    inside = Barrier(3)
    assert len(Team(3, lambda _: {"meet": lambda: inside.wait(timeout=10)}).run(Share(0), least_rounds=1)["meet"]) == 1


def test_each_thread_makes_what_it_uses() -> None:
    makers: dict[int, int] = {}
    users: dict[int, int] = {}

    def prepare(number: int) -> dict[str, object]:
        makers[number] = get_ident()
        return {"use": lambda: users.__setitem__(number, get_ident())}

    Team(2, prepare).run(Share(0), least_rounds=1)  # type: ignore[arg-type]
    assert makers == users
    assert len(set(makers.values())) == 2


def test_rounds_follow_until_the_time_is_over() -> None:
    assert 5 <= len(Team(1, lambda _: {"wait": lambda: sleep(0.01)}).run(Share(0.2), least_rounds=1)["wait"]) <= 21


@pytest.mark.parametrize("when", ["while it prepares", "in a kernel"])
def test_an_error_in_one_thread_is_raised_and_ends_the_others(when: str) -> None:
    def fail() -> None:
        if current_thread().name == "team-1":
            raise MemoryError(when)

    def prepare(_number: int) -> dict[str, object]:
        if when == "while it prepares":
            fail()
        return {"work": fail}

    with pytest.raises(MemoryError, match=when):
        Team(3, prepare).run(Share(10), least_rounds=1)  # type: ignore[arg-type]
