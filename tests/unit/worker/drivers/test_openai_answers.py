"""Tests what is read from answers in OpenAI's protocol: tokens, times, and everything that can be wrong inside of a status 200."""

from __future__ import annotations

from typing import Any

import pytest

from shared.request_records import ERROR, SUCCESS, WRONG
from shared.token_records import RECORD
from tests.model_server import delta, event, usage
from worker.drivers.base import Work
from worker.drivers.openai import OpenAiDriver
from worker.drivers.reading import Reading

ENDED = event(delta(None, "stop"))
DONE = event(b"[DONE]")


def read(*pieces: bytes, **settings: Any) -> Reading:
    """Read a body whose pieces arrived at the times 100, 200, …"""
    arrived = [number for place, data in enumerate(pieces, 1) for number in (100 * place, len(data))]
    return OpenAiDriver(Work("http://127.0.0.1:1", settings)).read(b"".join(pieces), arrived)


def output_of(reading: Reading) -> tuple[int, int]:
    """Return the number of output tokens in the record, and where it comes from."""
    fields = RECORD.unpack(reading.record(0))
    return fields[5], fields[9]


def test_the_announcement_of_the_answer_is_no_content() -> None:
    found = read(event(delta("", role="assistant")), event(delta("a")), event(delta("b", "length")), event(usage(7, 2)) + DONE)
    assert (found.events, found.answered, found.finish, found.done) == ([200, 300], 200, "length", True)
    assert (found.input, found.output, found.failure) == (7, 2, SUCCESS)
    assert found.gaps() == [100]


def test_reasoning_is_a_first_token_and_no_answer() -> None:
    found = read(event(delta(None, reasoning_content="hm")), event(delta(None, reasoning="so")), event(delta("a")), ENDED + DONE)
    assert (found.events, found.answered) == ([100, 200, 300], 300)


def test_an_empty_text_after_the_first_one_is_a_token_and_at_the_end_it_is_none() -> None:
    found = read(event(delta("a")), event(delta("")), event(delta("b")), event(delta("", "stop")), DONE)
    assert found.events == [100, 200, 300]


def test_the_call_of_a_tool_is_content() -> None:
    assert read(event(delta(None, tool_calls=[{"index": 0}])), ENDED + DONE).events == [100]


def test_completions_have_their_text_in_the_choice() -> None:
    chunk = {"choices": [{"index": 0, "text": "a", "finish_reason": None}]}
    assert read(event(chunk), event(chunk), DONE, endpoint="completions").events == [100, 200]


def test_events_of_one_read_have_one_stamp() -> None:
    found = read(event(delta("a")) + event(delta("b")), ENDED + DONE)
    assert found.events == [100, 100]
    assert RECORD.unpack(found.record(50))[:3] == (50.0, 50.0, 50.0)


def test_tokens_are_counted_by_the_server_else_by_ids_else_by_events() -> None:
    with_ids = delta("ab")
    with_ids["choices"][0]["token_ids"] = [5, 6, 7]
    assert output_of(read(event(delta("ab")), event(usage(1, 9)), ENDED, DONE)) == (9, 1)
    assert output_of(read(event(with_ids), ENDED, DONE)) == (3, 2)
    assert output_of(read(event(delta("ab")), event(delta("c")), ENDED, DONE)) == (2, 3)


def test_the_tokens_that_a_cache_had_are_read() -> None:
    told = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}}
    assert read(event(delta("a")), event(told), ENDED, DONE).cached == 8


def test_a_stream_without_its_last_words_is_whole_if_it_says_why_it_ended() -> None:
    found = read(event(delta("a")), ENDED)
    assert (found.failure, found.done) == (SUCCESS, False)


@pytest.mark.parametrize(
    ("pieces", "failure", "said"),
    [
        ((event(delta("a")),), WRONG, "the stream ended before the answer"),
        ((), WRONG, "the stream ended before the answer"),
        ((event(delta("a")), b'data: {"choices": [{"del'), WRONG, "ended in the middle of an event"),
        ((event({"error": {"message": "out of memory", "code": 500}}),), ERROR, "out of memory"),
        ((event(delta("a")), b'event: error\ndata: {"message": "cut off"}\n\n', DONE), ERROR, "cut off"),
        ((event({"error": "no such model"}), DONE), ERROR, "no such model"),
        ((b"data: {half\n\n", ENDED, DONE), WRONG, "this is no JSON object: '{half'"),
        ((b"data: [1]\n\n", ENDED, DONE), WRONG, "this is no JSON object"),
        ((event({"choices": [3]}), ENDED, DONE), WRONG, "a choice of an unknown form"),
        ((b"\xff\xfe\x00garbage",), WRONG, "neither its last words"),
        ((b'{"choices": [{"message": {"content": "a"}}]}',), WRONG, "asked for a stream, and the answer is one JSON"),
        ((b'{"error": {"message": "busy"}}',), ERROR, "busy"),
    ],
)
def test_what_is_wrong_inside_of_a_status_200_is_a_failure_that_says_what(pieces: tuple[bytes, ...], failure: int, said: str) -> None:
    found = read(*pieces)
    assert found.failure == failure
    assert said in found.said


def test_an_answer_that_is_not_streamed_has_tokens_and_no_times() -> None:
    body = b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
    found = read(body, stream=False)
    assert (found.failure, found.input, output_of(found), found.gaps()) == (SUCCESS, 3, (4, 1), [])
    assert RECORD.unpack(found.record(0))[7:9] == (0, 0)


@pytest.mark.parametrize("body", [b"{}", b'{"choices": []}', b"[]", b"<html>", b'{"error": "x"}', b'{"choices": [1]}'])
def test_a_whole_answer_without_choices_is_a_failure(body: bytes) -> None:
    assert read(body, stream=False).failure in (WRONG, ERROR)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://h:1", "/v1/chat/completions"),
        ("http://h:1/", "/v1/chat/completions"),
        ("http://h:1/v1", "/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", "/v1/chat/completions"),
        ("https://h/openai/v2/", "/openai/v2/chat/completions"),
    ],
)
def test_an_address_may_be_written_as_people_write_it(address: str, path: str) -> None:
    assert OpenAiDriver(Work(address)).path == path


def test_the_body_has_what_the_recipe_says_and_nothing_else() -> None:
    asked = {"model": "m", "max_tokens": 9, "ignore_eos": True, "sampling_seed": 3, "extra_body": {"top_p": 0.5}, "input_tokens": None}
    assert OpenAiDriver(Work("http://h:1", asked)).body("hi") == {
        **{"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.0, "stream": True, "max_tokens": 9},
        **{"ignore_eos": True, "seed": 3, "stream_options": {"include_usage": True}, "top_p": 0.5},
    }
    plain = OpenAiDriver(Work("http://h:1", {"model": "m", "endpoint": "completions", "stream": False, "include_usage": True}))
    assert plain.body("hi") == {"model": "m", "prompt": "hi", "temperature": 0.0, "stream": False, "max_tokens": 64}
    newer = OpenAiDriver(Work("http://h:1", {"extra_body": {"max_completion_tokens": 5}}))
    assert "max_tokens" not in newer.body("hi")
