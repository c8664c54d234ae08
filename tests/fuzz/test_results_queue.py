"""Tests that the consumer handles anything in the results queue correctly and continues."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.capabilities import RESULTS_QUEUE
from shared.protocol import keys
from tests.fuzz.budget import tried
from tests.fuzz.serving import Served
from tests.fuzz.test_messages import JOB, REPORTS, plain
from tests.fuzz.values import JSON, damaged, written
from tests.integration.reports import started

DRAINED_S = 60.0


def in_envelope(body: str, encoding: str | None) -> bytes:
    """Return the message in the form in which kombu sends it."""
    told = base64.b64encode(body.encode("utf-8", "surrogatepass")).decode() if encoding == "base64" else body
    return json.dumps({"body": told, "headers": {}, "properties": {"body_encoding": encoding}}).encode()


BODIES = damaged(REPORTS).map(written) | JSON.map(written) | st.text(st.characters(), max_size=30)
ENVELOPED = st.tuples(BODIES, st.sampled_from(["base64", None, "rot13"]))
NO_ENVELOPES = (
    st.binary(max_size=50)
    | JSON.map(written).map(str.encode)
    # built by a function, because hypothesis would keep the text of a plain value for its reports
    | st.just(b"[").map(lambda bracket: bracket * 100_000)
    | st.sampled_from([b'{"body": "' + b"a" * 1000, b'{"body": "\xff\xfe"}', b'{"body": null, "properties": []}', b""])
)


def drained(served: Served) -> bool:
    """Return True if no message waits or is being handled. The queue is read first, because messages move in this order."""
    waiting: Any = served.redis.llen(RESULTS_QUEUE)
    taken: Any = served.redis.keys(f"{keys.PREFIX}taken:*")
    return not waiting and not taken


@tried(40)
@given(st.lists(ENVELOPED, max_size=20), st.lists(NO_ENVELOPES, max_size=10))
def test_the_consumer_survives_any_messages_and_still_reads_the_next(
    served: Served, enveloped: list[tuple[str, str | None]], others: list[bytes]
) -> None:
    body = {"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}] * 2}
    first, second = (job["job_id"] for job in served.client.post("/api/campaigns", json=body).json()["jobs"])
    hostile = [in_envelope(text.replace(JOB, first), encoding) for text, encoding in enveloped]
    good = in_envelope(json.dumps(plain(started(second))), "base64")
    served.redis.lpush(RESULTS_QUEUE, *hostile, *others, good)
    deadline = time.monotonic() + DRAINED_S
    while not drained(served):
        assert time.monotonic() < deadline, served.said()[-4000:]
        time.sleep(0.01)
    steps = [step["kind"] for step in served.client.get(f"/api/jobs/{second}").json()["job"]["timeline"]]
    assert "started" in steps, "the watch may have taken it back since: its worker is nobody's"
    assert served.client.get(f"/api/jobs/{first}").status_code == 200
    assert served.client.get(f"/api/campaigns/{first.rpartition('-job-')[0]}/results?format=json").status_code == 200
