"""Tests the queue reader in this process with a real Redis: what it takes, and what happens to a message at a bad moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from orchestrator.dispatch.base import Dispatch
from orchestrator.dispatch.celery_queue import CeleryQueue
from shared.clock import SystemClock
from tests.integration.worker_process import eventually, tiny_job
from worker.agent.consumer import CeleryConsumer
from worker.agent.login import Login
from worker.agent.transport import Channel, Transport

WAIT_S = 30.0  # this only stops a test that hangs; it is not an expected duration


class Reader:
    """Holds a consumer, and records what it did with each message."""

    def __init__(self, url: str) -> None:
        self.handled: list[str] = []
        self.handed_back: list[str] = []
        self.buried: list[str] = []
        self.consumer = CeleryConsumer(
            login=Login(url, None),
            worker_id="worker-a",
            queues=("cpu.onnx",),
            nodename="lab@worker-a",
            handle=self._handle,
            hand_back=lambda args, _: self.handed_back.append(args[0]["job_id"]),
            dead_letter=lambda reason, *_: self.buried.append(reason),
            clock=SystemClock(),
        )
        self.consumer.start()

    def _handle(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        self.handled.append(args[0]["job_id"])
        return "done"

    def has_handled(self, number: int) -> bool:
        return len(self.handled) >= number

    def close(self) -> None:
        assert self.consumer.close(WAIT_S)
        self.consumer.app.close()


@pytest.fixture
def start(redis_url: str) -> Iterator[Callable[[], Reader]]:
    with ExitStack() as stack:

        def started() -> Reader:
            reader = Reader(redis_url)
            stack.callback(reader.close)
            return reader

        yield started


@pytest.fixture
def queue(redis_url: str) -> Iterator[CeleryQueue]:
    made = CeleryQueue(redis_url)
    yield made
    made.close()


def test_a_stop_waits_for_a_question_that_is_about_to_be_asked(
    start: Callable[[], Reader], queue: CeleryQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop has decided to take a message, but has not asked Redis yet. A message that this request brings is still run."""
    about_to_ask, go_on, ask = Event(), Event(), Channel._brpop_start

    def held_up(channel: Channel, *args: Any) -> None:
        about_to_ask.set()
        assert go_on.wait(WAIT_S)
        ask(channel, *args)

    monkeypatch.setattr(Channel, "_brpop_start", held_up)
    first, second = tiny_job(tmp_path, 1), tiny_job(tmp_path, 2)
    reader = start()
    assert about_to_ask.wait(WAIT_S)
    stopping = Thread(target=reader.consumer.stop_taking)
    stopping.start()
    stopping.join(0.3)
    assert stopping.is_alive(), "a message may still come"
    queue.publish([Dispatch(first, "cpu.onnx", 9)])
    go_on.set()
    stopping.join(WAIT_S)
    queue.publish([Dispatch(second, "cpu.onnx", 9)])
    reader.close()
    assert (reader.handled, reader.handed_back, reader.buried) == ([first.job_id], [], [])
    assert queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}, "the second was not taken"


def test_a_job_that_comes_after_the_pool_has_ended_is_handed_back(
    start: Callable[[], Reader], queue: CeleryQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing the channel reads the answer to an earlier request (kombu does so on purpose), but no thread can run this job any more."""
    monkeypatch.setattr(Transport, "brpop_timeout", int(WAIT_S))  # the request stays open, whenever the pool ends
    job = tiny_job(tmp_path)
    reader = start()
    controller = eventually(lambda: reader.consumer.ready.is_set() and reader.consumer._controller, "it reads")
    eventually(lambda: reader.consumer._is_reading(controller.consumer), "it has asked Redis")
    end_pool = controller.pool.on_stop

    def end_pool_then_publish() -> None:
        end_pool()
        queue.publish([Dispatch(job, "cpu.onnx", 9)])

    controller.pool.on_stop = end_pool_then_publish
    assert reader.consumer.close(WAIT_S)
    assert (reader.handled, reader.handed_back, reader.buried) == ([], [job.job_id], [])
    assert queue.depths(["cpu.onnx"]) == {"cpu.onnx": 0}


def test_nothing_is_lost_or_buried_by_many_stops_on_a_busy_queue(start: Callable[[], Reader], queue: CeleryQueue, tmp_path: Path) -> None:
    for turn in range(10):
        jobs = [tiny_job(tmp_path, 100 * turn + number) for number in range(1, 60)]
        queue.publish([Dispatch(job, "cpu.onnx", 9) for job in jobs])
        reader = start()
        eventually(partial(reader.has_handled, 2 + turn), "it is at work")
        reader.consumer.stop_taking()
        reader.close()
        left = queue.depths(["cpu.onnx"])["cpu.onnx"]
        assert (len(reader.handled), reader.handed_back, reader.buried) == (len(jobs) - left, [], [])
        queue.purge(["cpu.onnx"])


def test_a_worker_that_pauses_takes_nothing_and_takes_again(start: Callable[[], Reader], queue: CeleryQueue, tmp_path: Path) -> None:
    reader = start()
    eventually(reader.consumer.ready.is_set, "it reads")
    reader.consumer.take(False)
    celery, came_round = reader.consumer._reader, Event()
    celery.call_soon(came_round.set)  # the loop may have been about to ask
    eventually(lambda: came_round.is_set() and not reader.consumer._is_reading(celery), "what was asked for is answered")
    queue.publish([Dispatch(tiny_job(tmp_path), "cpu.onnx", 9)])
    assert not reader.handled
    assert queue.depths(["cpu.onnx"]) == {"cpu.onnx": 1}
    reader.consumer.take(True)
    eventually(lambda: reader.handled, "it takes again")


def test_a_second_consumer_of_the_process_runs_its_own_jobs(start: Callable[[], Reader], queue: CeleryQueue, tmp_path: Path) -> None:
    """A worker that is registered under another id makes a new consumer after the old one has ended."""
    first, second = tiny_job(tmp_path, 1), tiny_job(tmp_path, 2)
    old = start()
    queue.publish([Dispatch(first, "cpu.onnx", 9)])
    eventually(lambda: old.handled, "the old one works")
    old.consumer.stop_taking()
    old.close()
    new = start()
    queue.publish([Dispatch(second, "cpu.onnx", 9)])
    eventually(lambda: new.handled or len(old.handled) > 1, "somebody works")
    assert (old.handled, new.handled) == ([first.job_id], [second.job_id])
