"""Tests that whatever a server of a language model answers is read, and is a success or a failure with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.request_records import ERROR, SUCCESS, WRONG
from shared.token_records import RECORD
from tests.fuzz.budget import tried
from tests.fuzz.values import JSON
from tests.model_server import delta, event, usage
from worker.drivers.base import Work
from worker.drivers.language_model import LanguageModelDriver, message_in
from worker.drivers.ollama import OllamaDriver
from worker.drivers.openai import OpenAiDriver

KEYS = ("choices", "usage", "error", "delta", "content", "finish_reason", "text", "message", "response", "done", "token_ids", "eval_count")
CONTENT = st.recursive(JSON, lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=4) | st.lists(inner, max_size=3))
GOOD = [event(delta("a")), event(delta("b", "stop")), event(usage(3, 2)), event(b"[DONE]")]
DEEP = b"[" * 100_000


def drivers() -> list[LanguageModelDriver]:
    made: list[LanguageModelDriver] = []
    for settings in ({}, {"stream": False}, {"endpoint": "completions"}):
        work = Work("http://127.0.0.1:1", settings)
        made += [OpenAiDriver(work), OllamaDriver(work)]
    return made


DRIVERS = drivers()


def check(body: bytes, cuts: list[int]) -> None:
    """Read a body that arrived in pieces, by every protocol."""
    places = sorted({cut % (len(body) + 1) for cut in cuts} | {len(body)})
    pieces = [end - begin for begin, end in zip([0, *places], places, strict=False) if end > begin]
    arrived = [number for at, length in enumerate(pieces, 1) for number in (at, length)]
    for driver in DRIVERS:
        reading = driver.read(body, arrived)
        assert reading.failure in (SUCCESS, ERROR, WRONG)
        assert (reading.failure == SUCCESS) == (not reading.said)
        RECORD.unpack(reading.record(0))
        assert len(reading.gaps()) == max(0, len(reading.events) - 1) or not reading.streamed
        assert driver.failure_in(body) in (SUCCESS, ERROR, WRONG)
    assert len(message_in(body)) <= 300


@tried(20)
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_read(body: bytes, cuts: list[int]) -> None:
    check(body, cuts)


@tried(40)
@given(st.lists(CONTENT, max_size=4), st.lists(st.integers(0, 2_000), max_size=4), st.booleans())
def test_any_json_in_the_place_of_an_event_is_read(contents: list[Any], cuts: list[int], lines: bool) -> None:
    if lines:
        check(b"".join(json.dumps(one).encode() + b"\n" for one in contents), cuts)
    else:
        check(b"".join(event(one) for one in contents), cuts)


@tried(20)
@given(st.integers(0, 500), st.lists(st.integers(0, 2_000), max_size=4))
def test_a_good_answer_that_is_cut_anywhere_is_read(length: int, cuts: list[int]) -> None:
    check(b"".join(GOOD)[:length], cuts)


@pytest.mark.parametrize("body", [DEEP, b"data: " + DEEP + b"\n\n", DEEP + b"\n", b'{"choices": 5}', b'data: {"choices": 5}\n\n'])
def test_what_is_deep_or_of_another_form_is_a_failure(body: bytes) -> None:
    check(body, [])
    assert all(driver.read(body, (1, len(body))).failure == WRONG for driver in DRIVERS)
