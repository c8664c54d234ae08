"""Tests that the queue on Celery and the queue in memory behave in the same way."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import redis
from celery import Celery
from pydantic import BaseModel

from orchestrator.dispatch.base import Dispatch, DispatchQueue
from orchestrator.dispatch.celery_queue import CeleryQueue, readable
from orchestrator.dispatch.memory_queue import MemoryQueue
from shared.celery_app import broker_priority, make_celery_app
from shared.engine_options import EngineOptions, ExactValues
from shared.ids import job_id
from shared.inputs import ModelRef
from shared.protocol.messages import TASK_NAME, Assignment
from shared.repetition import StopRule, Warmup
from shared.workloads import Workload, inference_workload

CAMPAIGN = "campaign-" + "0" * 18


def dispatch(number: int, queue: str = "cpu.onnx", priority: int = 5) -> Dispatch:
    workload = inference_workload(model=ModelRef(source="https://models.example/squeezenet.onnx", name="squeezenet.onnx"))
    assignment = Assignment(job_id=job_id(CAMPAIGN, number), campaign_id=CAMPAIGN, attempt=1, capability="cpu.onnx", workload=workload)
    return Dispatch(assignment, queue, priority)


@pytest.fixture(params=["celery", "memory"])
def queue(request: pytest.FixtureRequest) -> Iterator[DispatchQueue]:
    made: DispatchQueue = MemoryQueue() if request.param == "memory" else CeleryQueue(request.getfixturevalue("redis_url"))
    yield made
    made.close()


def taken(queue: DispatchQueue, name: str) -> list[str]:
    """Return ids in the order in which a worker gets them. On Celery, a real kombu consumer takes them."""
    if isinstance(queue, MemoryQueue):
        found: list[str] = []
        while message := queue.take(name):
            found.append(message[0].job_id)
        return found
    assert isinstance(queue, CeleryQueue)
    return [headers["id"].rpartition(".")[0] for headers, _ in messages(queue.app, name)]


def messages(app: Celery, name: str) -> list[tuple[dict[str, Any], Any]]:
    found = []
    with app.connection_for_read() as connection:
        simple = connection.SimpleQueue(name)
        while True:
            try:
                message = simple.get_nowait()
            except simple.Empty:
                break
            found.append((message.headers, message.payload))
            message.ack()
        simple.close()
    return found


def test_what_is_published_waits_in_its_own_queue(queue: DispatchQueue) -> None:
    queue.publish([dispatch(1), dispatch(2), dispatch(3, queue="worker.worker-a")])
    assert queue.depths(["cpu.onnx", "worker.worker-a", "gpu.cuda.onnx"]) == {"cpu.onnx": 2, "worker.worker-a": 1, "gpu.cuda.onnx": 0}


def test_equal_priorities_leave_in_the_order_of_publishing(queue: DispatchQueue) -> None:
    queue.publish([dispatch(number) for number in (3, 1, 2)])
    assert taken(queue, "cpu.onnx") == [job_id(CAMPAIGN, number) for number in (3, 1, 2)]


def test_a_more_urgent_job_leaves_first(queue: DispatchQueue) -> None:
    queue.publish([dispatch(1, priority=0), dispatch(2, priority=5), dispatch(3, priority=9)])
    assert taken(queue, "cpu.onnx") == [job_id(CAMPAIGN, number) for number in (3, 2, 1)]


def test_what_waits_is_told_by_job_and_attempt(queue: DispatchQueue) -> None:
    queue.publish([dispatch(1), dispatch(2, priority=9), dispatch(3, priority=0), dispatch(4, queue="worker.worker-a")])
    assert queue.waiting(["cpu.onnx", "gpu.cuda.onnx"]) == {(job_id(CAMPAIGN, number), 1) for number in (1, 2, 3)}
    assert queue.waiting(["worker.worker-a"]) == {(job_id(CAMPAIGN, 4), 1)}
    queue.purge(["cpu.onnx"])
    assert queue.waiting(["cpu.onnx"]) == set()


def test_a_message_that_is_not_a_job_is_not_counted_among_those_that_wait(redis_url: str) -> None:
    queue = CeleryQueue(redis_url)
    queue.publish([dispatch(1)])
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("cpu.onnx", "no message", b"\xff\xfe", '{"headers": {"id": "one.1"}}')
    assert queue.waiting(["cpu.onnx"]) == {(job_id(CAMPAIGN, 1), 1)}
    queue.close()


def test_purging_drops_what_waits_and_says_how_much(queue: DispatchQueue) -> None:
    queue.publish([dispatch(1), dispatch(2, priority=9), dispatch(3, queue="gpu.cuda.onnx")])
    assert queue.purge(["cpu.onnx"]) == 2
    assert queue.depths(["cpu.onnx", "gpu.cuda.onnx"]) == {"cpu.onnx": 0, "gpu.cuda.onnx": 1}


def block(*numbers: int, queue: str = "cpu.onnx") -> Dispatch:
    first, *others = (dispatch(number).assignment for number in numbers)
    return Dispatch(first, queue, 5, tuple(others))


def test_every_job_of_a_message_is_seen_to_wait_and_the_message_counts_once(queue: DispatchQueue) -> None:
    queue.publish([block(1, 2, 3), dispatch(4)])
    assert queue.waiting(["cpu.onnx"]) == {(job_id(CAMPAIGN, number), 1) for number in (1, 2, 3, 4)}
    assert queue.depths(["cpu.onnx"]) == {"cpu.onnx": 2}
    assert taken(queue, "cpu.onnx") == [job_id(CAMPAIGN, number) for number in (1, 4)]


def test_a_worker_of_an_earlier_version_finds_several_arguments_where_it_expects_one(redis_url: str) -> None:
    """So it makes a dead letter of the message and fails none of its jobs; the watch sends them again, each alone."""
    queue = CeleryQueue(redis_url)
    queue.publish([block(1, 2)])
    [(headers, body)] = messages(queue.app, "cpu.onnx")
    assert (headers["id"], headers["others"]) == (f"{job_id(CAMPAIGN, 1)}.1", f"{job_id(CAMPAIGN, 2)}.1")
    assert [Assignment.model_validate_json(json.dumps(one)).job_id for one in body[0]] == [job_id(CAMPAIGN, 1), job_id(CAMPAIGN, 2)]
    assert "in turns with 1 other of its campaign" in headers["argsrepr"]
    queue.close()


def test_the_name_of_a_model_names_no_jobs(redis_url: str) -> None:
    """It stands in a header, where anybody could try to write what looks like the list of the other jobs."""
    queue = CeleryQueue(redis_url)
    model = ModelRef(source="https://models.example/a.onnx", name=f'", "others": "{job_id(CAMPAIGN, 9)}.1')
    given = dispatch(1)
    named = given.assignment.model_copy(update={"workload": inference_workload(model)})
    queue.publish([Dispatch(named, given.queue, given.priority)])
    assert queue.waiting(["cpu.onnx"]) == {(job_id(CAMPAIGN, 1), 1)}
    queue.close()


def test_a_batch_goes_to_each_list_with_one_command(redis_url: str) -> None:
    """After each command, Redis looks at every client that waits for the list, so a command for each message is slow for a large fleet."""
    queue = CeleryQueue(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        queue.publish([dispatch(number, name) for number in range(1, 61) for name in ("cpu.onnx", "gpu.coreml")])
        assert client.info("commandstats")["cmdstat_lpush"]["calls"] == 2
    assert queue.depths(["cpu.onnx", "gpu.coreml"]) == {"cpu.onnx": 60, "gpu.coreml": 60}
    queue.close()


def test_a_batch_message_is_what_celery_itself_would_send(redis_url: str) -> None:
    ours, theirs = CeleryQueue(redis_url), make_celery_app(redis_url)
    item = dispatch(1)
    ours.publish([item])
    theirs.send_task(
        TASK_NAME,
        args=[item.assignment.model_dump(mode="json", exclude_none=True)],
        task_id=f"{item.assignment.job_id}.1",
        queue="cpu.onnx",
        priority=broker_priority(5),
        argsrepr=readable(item.assignment),
        ignore_result=True,
    )
    with redis.Redis.from_url(redis_url) as client:
        second, first = (json.loads(raw) for raw in client.lrange("cpu.onnx\x06\x163", 0, -1))
    different_by_nature = {"origin"}
    assert {k: v for k, v in first["headers"].items() if k not in different_by_nature} == {
        k: v for k, v in second["headers"].items() if k not in different_by_nature
    }
    assert {k: v for k, v in first.items() if k not in ("body", "headers", "properties")} == {
        k: v for k, v in second.items() if k not in ("body", "headers", "properties")
    }
    generated = {"delivery_tag", "reply_to", "argsrepr"}
    assert {k: v for k, v in first["properties"].items() if k not in generated} == {
        k: v for k, v in second["properties"].items() if k not in generated
    }
    bodies = [payload for _, payload in messages(theirs, "cpu.onnx")]
    assert bodies[0] == bodies[1]
    assert Assignment.model_validate_json(json.dumps(bodies[0][0][0])) == item.assignment
    ours.close()
    theirs.close()


def sent(workload: Workload) -> dict[str, Any]:
    """Return the assignment as a worker finds it in its queue."""
    queue = CeleryQueue("redis://127.0.0.1:1/0")  # the queue connects only when it publishes
    given = dispatch(1)
    message = json.loads(queue.message(Dispatch(given.assignment.model_copy(update={"workload": workload}), given.queue, given.priority)))
    queue.close()
    assignment: dict[str, Any] = json.loads(base64.b64decode(message["body"]))[0][0]
    return assignment


def test_a_worker_of_an_earlier_version_can_read_a_job_that_uses_nothing_newer() -> None:
    """The first workers refuse every field that they do not know, even without a value. These are the fields that they know."""
    work = sent(inference_workload(model=ModelRef(source="https://models.example/squeezenet.onnx", name="squeezenet.onnx")))["workload"]
    assert set(work) <= {"model", "inferences", "repeats", "loads", "warmup", "stop", "options", "timeout_s"}
    assert set(work["model"]) <= {"source", "name", "sha256", "size", "companions"}
    assert set(work["warmup"]) <= {"min_calls", "min_s", "max_s"}
    assert set(work["options"]) <= {"providers", "threads", "inter_threads", "graph", "batch_size", "shapes", "seed"}


def test_a_job_that_uses_every_field_arrives_whole() -> None:
    options = EngineOptions(
        providers=("CPUExecutionProvider",),
        threads=2,
        inter_threads=1,
        graph="all",
        batch_size=4,
        shapes={"data": (1, 3)},
        dims={"batch": 8},
        values={"ids": ExactValues(array=[[1, 2], [3, 4]]), "mask": 0, "text": ("a", "b")},
        seed=3,
    )
    model = ModelRef(source=f"sha256:{'a' * 64}", name="a.onnx", sha256="a" * 64, size=3, companions=())
    work = inference_workload(model=model, stop=StopRule(precision=0.02), options=options)
    assert Assignment.model_validate_json(json.dumps(sent(work))).workload == work


@pytest.mark.parametrize("part", [Assignment, Workload, ModelRef, Warmup, StopRule, EngineOptions])
def test_a_field_that_may_be_left_out_means_the_same_when_it_is(part: type[BaseModel]) -> None:
    may_be_none = [name for name, field in part.model_fields.items() if type(None) in get_args(field.annotation)]
    assert [name for name in may_be_none if part.model_fields[name].default is not None] == []
