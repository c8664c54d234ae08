"""Tests that tests marked `alone` run alone, and that they do not wait forever for that."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path

from tests.alone import Room

BOUND_S = 60.0  # this only stops a test that hangs; it is not an expected duration, because the machine may be busy


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _someone_holds_the_door(folder: Path) -> bool:
    with (folder / "door.lock").open() as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_test_marked_alone_waits_for_earlier_tests_and_runs_before_later_ones(tmp_path: Path) -> None:
    inside, alone, later = (Room(tmp_path) for _ in range(3))
    seen: list[str] = []

    def be_alone() -> None:
        alone.enter(alone=True)
        seen.append("alone")
        alone.leave()

    def come_later() -> None:
        later.enter(alone=False)
        seen.append("later")
        later.leave()

    inside.enter(alone=False)
    threads = [_in_thread(be_alone)]
    while not _someone_holds_the_door(tmp_path):  # wait until one test holds the first lock and waits for the others to finish
        threads[0].join(0.01)
    threads.append(_in_thread(come_later))
    seen.append("inside")
    inside.leave()
    for thread in threads:
        thread.join(BOUND_S)
    assert seen == ["inside", "alone", "later"]
    for room in (inside, alone, later):
        room.close()


def test_those_who_need_not_be_alone_are_inside_together(tmp_path: Path) -> None:
    first, second = Room(tmp_path), Room(tmp_path)
    first.enter(alone=False)
    second.enter(alone=False)  # this call would hang
    for room in (first, second):
        room.leave()
        room.close()
