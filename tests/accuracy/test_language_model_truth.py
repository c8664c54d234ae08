"""Tests the client of language models against a server whose own log says when it wrote what."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import pytest

from shared.errors import EngineUnavailable, ModelInvalid
from shared.figures import Outcome
from shared.request_records import CLOSED, ERROR, STATUS, SUCCESS, TIMEOUT, TOO_MANY, WRONG
from tests.model_server import END, HEAD, ModelServer, Step, chunk, delta, event, json_answer, last_words, model_server, streamed
from worker.drivers.base import Lane, Work
from worker.drivers.openai import OpenAiDriver
from worker.load.arrivals import Shape
from worker.load.clients import Clients
from worker.load.dispatcher import Dispatcher
from worker.load.figures import outcome_of
from worker.load.phases import Measured
from worker.load.plan import ClientPlan, PhasePlan
from worker.load.records import RecordFile
from worker.load.spool import Spool
from worker.load.tokens import TokenBlock, token_blocks

KEY = "sk-quite-secret"
TOKENS, REQUESTS = 12, 15


@dataclass
class Driven:
    files: list[RecordFile]
    facts: dict[str, Any]
    prepared: dict[str, Any]

    @property
    def measured(self) -> Measured:
        return Measured("requests", tuple(self.files), None, open_loop=False)

    @property
    def tokens(self) -> TokenBlock:
        blocks = list(token_blocks(self.measured))
        assert len(blocks) == 1
        return blocks[0]

    @property
    def failures(self) -> list[int]:
        found: list[int] = self.tokens.records["failure"].tolist()
        return found

    def outcome(self) -> Outcome:
        return outcome_of([[self.measured]], service_type="openai", operations=["ask"], concurrency=1, ceiling_per_s=None)


def drive(server: ModelServer, folder: Path, *, count: int = 10, timeout_s: float = 10.0, **settings: Any) -> Driven:
    """Send requests one after the other, from an event loop in this process."""

    async def run() -> Driven:
        phase = PhasePlan("requests", {"ask": 1.0}, Shape(), count=count)
        plan = ClientPlan("openai", server.address, settings, (phase,), 1, 0, 1, "1/0", timeout_s, str(folder), {"key": KEY})
        driver = OpenAiDriver(Work(plan.address, plan.settings, plan.seed, secrets=plan.secrets))
        prepared = await driver.prepare()
        driver.begin(phase.operations, plan.seed)
        records = folder / plan.spool_name(0)
        spool = Spool(records)
        driver.keep(records)
        lanes: list[Lane] = []
        dispatcher = Dispatcher(plan, phase, driver, spool, lanes)
        lanes.append(await driver.open(dispatcher))
        await dispatcher.run(perf_counter_ns())
        spool.close()
        for lane in lanes:
            lane.close()
        driver.settle(records)
        return Driven([RecordFile(records, spool.count)], {"said": driver.said, "opened": driver.opened}, prepared)

    return asyncio.run(run())


def drive_processes(server: ModelServer, folder: Path, *, count: int, concurrent: int = 1, clients: int = 1, **settings: Any) -> Driven:
    """Send requests from processes of their own."""
    phase = PhasePlan("requests", {"ask": 1.0}, Shape(), count=count)
    plans = [
        ClientPlan(
            "openai", server.address, settings, (phase,), concurrent, client, clients, f"1/{client}", 10.0, str(folder), {"key": KEY}
        )
        for client in range(clients)
    ]
    with Clients(plans) as processes:
        prepared = processes.prepare()
        processes.make_ready(0)
        run = processes.run(0)
    assert not run.died
    return Driven([RecordFile(path, run.counts[client]) for client, path in run.files.items()], run.facts[0], prepared)


def bare(server: ModelServer, requests: int) -> list[int]:
    """Return the times until the first event with content, as a client with nothing but a socket sees them."""
    body = json.dumps({"stream": True}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    times = []
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            sent = perf_counter_ns()
            connection.sendall(request)
            data = b""
            while b'" 0"' not in data:
                data += connection.recv(65_536)
            times.append(perf_counter_ns() - sent)
            while not data.endswith(END):
                data += connection.recv(65_536)
    return times


@pytest.mark.alone
def test_the_times_of_tokens_are_those_of_the_servers_own_log(tmp_path: Path) -> None:
    """A bare socket meets the same busy machine, so what it measures beyond the log is what any client would."""
    with model_server(ModelServer(lambda _number: streamed(TOKENS, 0.008, 0.002))) as server:
        driven = drive_processes(server, tmp_path, count=REQUESTS)
        measured = server.log[1:]  # `prepare` has sent the first one
        seen_bare = bare(server, REQUESTS)
        of_bare = server.log[-REQUESTS:]
    tokens = driven.tokens.tokens
    beyond = [float(ttft) - (one.writes[1] - one.received) for ttft, one in zip(tokens["ttft"], measured, strict=True)]
    beyond_bare = [ttft - (one.writes[1] - one.received) for ttft, one in zip(seen_bare, of_bare, strict=True)]
    assert abs(median(beyond) - median(beyond_bare)) < 200_000  # 0.2 ms
    written = np.concatenate([np.diff(one.writes[1 : TOKENS + 1]) for one in measured])
    assert len(written) == len(driven.tokens.gaps)
    assert np.median(np.abs(driven.tokens.gaps - written)) < 200_000
    found = driven.outcome()
    tpots = [(one.writes[-1] - one.writes[1]) / 1e6 / (TOKENS - 1) for one in measured]
    assert found.figure("tpot_ms_p50").value == pytest.approx(median(tpots), rel=0.05)  # type: ignore[union-attr]
    assert found.figure("itl_ms_p50").value == pytest.approx(np.median(written) / 1e6, rel=0.05)  # type: ignore[union-attr]
    decode = [(TOKENS - 1) / ((one.writes[TOKENS] - one.writes[1]) / 1e9) for one in measured]
    assert found.figure("decode_tokens_per_s").value == pytest.approx(median(decode), rel=0.05)  # type: ignore[union-attr]
    took_s = (measured[-1].received - measured[0].received) / 1e9  # the window ends when the last request is sent
    assert found.figure("tokens_per_second").value == pytest.approx((REQUESTS - 1) * TOKENS / took_s, rel=0.05)  # type: ignore[union-attr]
    assert (tokens["input"] == 5).all()
    assert (tokens["output"] == TOKENS).all()


GOOD = streamed(3)
FIRST = HEAD + chunk(event(delta("a")))
Case = tuple[Sequence[Step], int, str]
WRONG_ONES: dict[str, Case] = {
    "too many": ([(0, json_answer(429, {"error": {"message": "slow down"}}, "Retry-After: 20"))], TOO_MANY, "(Retry-After: 20): slow down"),
    "status": ([(0, json_answer(503, {"detail": "no GPU"}))], STATUS, "status 503: no GPU"),
    "error inside": ([(0, FIRST + chunk(event({"error": {"message": "it broke"}})) + END)], ERROR, "it broke"),
    "half an event": ([(0, FIRST + chunk(b'data: {"choi') + END)], WRONG, "in the middle of an event"),
    "no end": ([(0, FIRST + END)], WRONG, "ended before the answer"),
    "no JSON": ([(0, FIRST + chunk(b"data: }{\n\n") + last_words(1, 1))], WRONG, "no JSON object"),
    "empty": ([(0, HEAD + END)], WRONG, "ended before the answer"),
    "cut": ([(0, FIRST), (0.01, None)], CLOSED, ""),
    "cut before anything": ([(0, None)], CLOSED, ""),
    "cut in an event": ([(0, HEAD + b"40\r\ndata: {"), (0.01, None)], CLOSED, ""),
    "stall": ([(0, FIRST), (60, END)], TIMEOUT, ""),
    "nothing": ([(60, END)], TIMEOUT, ""),
    "headers and nothing": ([(0, HEAD), (60, END)], TIMEOUT, ""),
    "no HTTP": ([(0, b"\xff\x00\xff garbage\r\n\r\n")], WRONG, ""),
}


@pytest.mark.parametrize("what", list(WRONG_ONES))
def test_each_way_to_fail_is_one_failure_with_a_name_and_is_never_sent_again(what: str, tmp_path: Path) -> None:
    steps, failure, said = WRONG_ONES[what]
    asked = 4
    with model_server(ModelServer(lambda number: steps if number == 2 else GOOD)) as server:
        driven = drive(server, tmp_path, count=asked, timeout_s=0.2 if failure == TIMEOUT else 10.0)
        assert len(server.log) == asked + 1  # `prepare` has sent one
    assert driven.failures == [SUCCESS, failure, SUCCESS, SUCCESS]
    assert said in driven.facts["said"]
    assert driven.tokens.tokens["output"][[0, 2, 3]].tolist() == [3, 3, 3]
    outcome = driven.outcome()
    assert outcome.figure("error_count").value == 1  # type: ignore[union-attr]
    assert outcome.figure("ttft_ms_p50").n == 3  # type: ignore[union-attr]


def test_the_times_of_a_stall_are_between_its_events(tmp_path: Path) -> None:
    stalled = [*streamed(5)[:3], (0.15, chunk(event(delta("late")))), *streamed(5)[4:]]
    with model_server(ModelServer(lambda _number: stalled)) as server:
        driven = drive(server, tmp_path, count=2)
    assert driven.tokens.gaps.reshape(2, 4).argmax(axis=1).tolist() == [1, 1]
    assert driven.tokens.gaps.max() > 150e6


def _batched(number: int) -> list[Step]:
    del number
    four: Step = (0.002, chunk(event(delta("a b c d"))))  # one write with one event of four tokens
    return [(0.0, HEAD), four, four, four, four, (0.0, chunk(event(delta(None, "length"))) + last_words(5, 16))]


def _buffered(number: int) -> list[Step]:
    del number
    return [(0.0, b"".join(data for _, data in streamed(8) if data is not None))]


@pytest.mark.parametrize(("answer", "why"), [(_batched, "an event has 4.00 tokens"), (_buffered, "events arrived at the same moment")])
def test_what_comes_in_batches_has_no_times_between_tokens(answer: Callable[[int], list[Step]], why: str, tmp_path: Path) -> None:
    with model_server(ModelServer(answer)) as server:
        outcome = drive(server, tmp_path).outcome()
    itl = outcome.figure("itl_ms_p50")
    assert itl is not None
    assert itl.value is None
    assert why in itl.missing
    assert outcome.figure("tokens_per_second").value > 0  # type: ignore[union-attr, operator]


def test_without_a_count_of_the_server_events_are_counted_and_the_result_says_so(tmp_path: Path) -> None:
    plain: list[Step] = [(0, FIRST + chunk(event(delta("b", "stop"))) + END)]
    with model_server(ModelServer(lambda _number: plain)) as server:
        driven = drive(server, tmp_path, count=3, include_usage=False)
        assert "stream_options" not in server.log[0].body
    outcome = driven.outcome()
    assert outcome.figure("output_tokens").value == 2  # type: ignore[union-attr]
    assert outcome.figure("input_tokens").missing == "the server does not count them"  # type: ignore[union-attr]
    assert outcome.detail["tokens"]["counted_by"] == {"events": 3}
    assert "events are counted in place of tokens" in outcome.detail["tokens"]["warnings"][0]


def test_the_key_is_sent_and_is_in_no_file_and_no_word(tmp_path: Path) -> None:
    refusing = json_answer(500, {"error": {"message": f"the key {KEY} is odd"}})
    with model_server(ModelServer(lambda number: [(0, refusing)] if number == 1 else GOOD)) as server:
        driven = drive(server, tmp_path, count=2)
        assert f"Authorization: Bearer {KEY}" in server.log[0].head
    assert "the key *** is odd" in driven.facts["said"]
    assert KEY not in json.dumps([driven.facts, driven.prepared])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.long  # tests/unit/worker/drivers/test_prompts.py tests the prompts themselves
def test_client_processes_ask_for_different_prompts_and_each_is_asked_once(tmp_path: Path) -> None:
    with model_server(ModelServer(lambda _number: GOOD)) as server:
        driven = drive_processes(server, tmp_path, count=40, clients=2, concurrent=2, input_tokens=16, keep_prompts=True)
    asked = [one.body["messages"][0]["content"] for one in server.log]
    assert len(set(asked)) == len(asked) == 41
    assert {len(prompt.split()) for prompt in asked} == {16}
    assert driven.prepared["input_tokens_asked"] == 16
    kept = [json.loads(line) for path in tmp_path.glob("*.texts") for line in path.read_text().splitlines()]
    assert sorted(kept) == sorted(asked[1:])


@pytest.mark.parametrize(
    ("answer", "pages", "error", "said"),
    [
        ([(0.0, json_answer(401, {"error": {"message": "bad key"}}))], {}, EngineUnavailable, "is not the right one"),
        ([(0.0, json_answer(404, {"error": {"message": "no model x"}}))], {}, EngineUnavailable, "status 404: no model x"),
        ([(0.0, FIRST + END)], {}, EngineUnavailable, "does not answer as it is asked: the stream ended before"),
        (GOOD, {"/v1/models": {"data": [{"id": "a"}, {"id": "b"}]}}, ModelInvalid, "it has 2: a, b"),
        (GOOD, {"/v1/models": {}}, ModelInvalid, "it names none"),
    ],
)
def test_an_address_that_cannot_be_measured_is_refused_before_the_load(
    answer: list[Step], pages: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with model_server(ModelServer(lambda _number: answer)) as server:
        server.pages |= pages
        with pytest.raises(error, match=said):
            drive(server, tmp_path)
        assert len(server.log) <= 1
