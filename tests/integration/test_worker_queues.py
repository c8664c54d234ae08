"""Tests a real worker with a queue that contains messages of any kind.

Each message that is not a job is kept with a reason, and the next job runs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.protocol.messages import TASK_NAME
from tests.integration.worker_process import Fleet, eventually, fleet_at, tiny_job


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_at(redis_url, tmp_path) as running:
        yield running


def envelope(
    body: Any = None, headers: dict[str, Any] | None = None, properties: dict[str, Any] | None = None, more: dict[str, Any] | None = None
) -> str:
    """Return a message as kombu writes it, with the given mistakes."""
    content = {
        "body": base64.b64encode(json.dumps([[], {}, None] if body is None else body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK_NAME, "id": "one"} if headers is None else headers,
        "properties": {
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": "cpu.onnx"},
            "body_encoding": "base64",
            **(properties or {}),
        },
    }
    return json.dumps({**content, **(more or {})})


OURS = {"lang": "py", "task": TASK_NAME, "id": "one"}
# Each case has a message that lies in the queue, and words of the reason with which it is kept.
LETTERS: list[tuple[str | bytes, str]] = [
    ("{this is no message at all", "not JSON"),
    ("", "not JSON"),
    (b"\xff\xfe\x00", "not JSON"),
    ("[" * 100_000, "cannot be read"),
    ("[]", "not a message of Celery's protocol 2"),
    ("null", "not a message of Celery's protocol 2"),
    ('"text"', "not a message of Celery's protocol 2"),
    ('{"body": "x"}', "not a message of Celery's protocol 2"),
    ('{"__type__": "uuid", "__value__": {"hex": "no"}}', "cannot be read"),
    ('{"__type__": "uuid", "__value__": [1]}', "cannot be read"),
    ('{"__type__": "decimal", "__value__": "no"}', "cannot be read"),
    ('{"__type__": "bytes", "__value__": 7}', "cannot be read"),
    ("9" * 5_000, "cannot be read"),
    (envelope(properties={"delivery_tag": {"a": 1}}), "not a message of Celery's protocol 2"),
    (envelope(properties={"delivery_info": None}), "not a message of Celery's protocol 2"),
    (envelope(headers={**OURS, "compression": "zlib"}), "not a message of Celery's protocol 2"),
    (envelope(properties={"body_encoding": "rot13"}), "not a message of Celery's protocol 2"),
    (json.dumps(json.loads(envelope()) | {"headers": [1]}), "not a message of Celery's protocol 2"),
    (envelope(headers={}), "not a message of Celery's protocol 2"),
    (envelope(headers={"task": TASK_NAME}), "has no id"),
    (envelope(headers={"task": "celery.map", "id": "one"}), "no task of this worker is called 'celery.map'"),
    (envelope(headers={**OURS, "eta": "2999-01-01T00:00:00"}), "asks for eta"),
    (envelope(headers={**OURS, "expires": "2999-01-01T00:00:00"}), "asks for expires"),
    (envelope(headers={**OURS, "timelimit": 5}), "asks for a time limit"),
    (envelope(more={"content-type": "application/x-python-serialize"}), "cannot be decoded"),
    (envelope(more={"content-type": "application/x-yaml"}), "cannot be decoded"),
    (envelope(more={"content-type": 5}), "cannot be decoded"),
    (envelope(body={"job_id": 1}), "is not [arguments"),
    (envelope(body=[]), "is not [arguments"),
    (envelope(body=[[], {}]), "is not [arguments"),
    (envelope(body=7), "is not [arguments"),
    (envelope(body=[[], {}, [1]]), "is no mapping"),
    (envelope(body=[[], {}, {"callbacks": [{"task": "other"}]}]), "asks for other tasks to be sent (callbacks)"),
    (envelope(body=[[], {}, {"chain": [{"task": "other"}], "chord": {"a": 1}}]), "(chain, chord)"),
    (envelope(), "got 0 arguments"),
    (envelope(body=[[{"job_id": "x\x00"}], {}, None]), "job_id: String should match pattern"),
    (envelope(body=[[{"job_id": "half a character \ud800"}], {}, None]), "Invalid JSON"),
]


def test_no_bytes_in_a_queue_end_the_reader_or_come_back(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.start()
    worker_id = fleet.registered(worker)
    for content, _ in LETTERS:
        fleet.redis.lpush("cpu.onnx", content)
    jobs = [tiny_job(tmp_path, number) for number in (1, 2)]
    fleet.send(jobs[0])
    assert fleet.report("result", jobs[0].job_id).status == "complete"
    eventually(lambda: len(fleet.letters()) == len(LETTERS), "a letter each")
    for letter, (_, words) in zip(reversed(fleet.letters()), LETTERS, strict=True):
        assert words in letter.reason
        assert letter.by == worker_id
    assert fleet.redis.llen("cpu.onnx") == 0
    eventually(lambda: fleet.unacknowledged() == 0, "nothing is held")
    fleet.send(jobs[1])
    assert fleet.report("result", jobs[1].job_id).status == "complete"
    assert "the queue reader ended" not in worker.log()
    assert len(fleet.letters()) == len(LETTERS)


def test_a_letter_shows_what_it_was(fleet: Fleet) -> None:
    fleet.registered(fleet.start())
    fleet.redis.lpush("cpu.onnx", "{this is no message at all", envelope(body=[1, 2, 3]))
    eventually(lambda: len(fleet.letters()) == 2, "both letters")
    shape, text = fleet.letters()
    assert text.message == "{this is no message at all"
    assert shape.message == f'{{"id": "one", "task": "{TASK_NAME}"}} [1, 2, 3]'
    assert shape.queue == "cpu.onnx"
    assert shape.at is not None
    assert abs(shape.at - float(fleet.redis.time()[0])) < 600
