"""Tests what is read from answers in Ollama's own protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.request_records import ERROR, SUCCESS, WRONG
from worker.drivers.base import Work
from worker.drivers.ollama import OllamaDriver
from worker.drivers.reading import Reading

LAST = {"done": True, "done_reason": "length", "load_duration": 5_000_000, "prompt_eval_count": 11, "eval_count": 2}


def line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def read(*pieces: bytes, **settings: Any) -> Reading:
    arrived = [number for place, data in enumerate(pieces, 1) for number in (100 * place, len(data))]
    return OllamaDriver(Work("http://127.0.0.1:1", settings)).read(b"".join(pieces), arrived)


def said(text: str, **more: Any) -> bytes:
    return line({"message": {"role": "assistant", "content": text, **more}, "done": False})


def test_the_last_line_has_the_tokens_and_how_long_the_model_took_to_load() -> None:
    found = read(said("", thinking="hm"), said("a"), line({"message": {"content": ""}, **LAST}))
    assert (found.events, found.answered, found.finish, found.failure) == ([100, 200], 200, "length", SUCCESS)
    assert (found.input, found.output, found.load_ns) == (11, 2, 5_000_000.0)


def test_generate_has_its_text_in_the_line() -> None:
    found = read(line({"response": "a", "done": False}), line({"response": "", **LAST}), endpoint="completions")
    assert (found.events, found.output) == ([100], 2)


def test_an_answer_that_is_not_streamed_has_no_times() -> None:
    found = read(line({"message": {"content": "a b"}, **LAST}), stream=False)
    assert (found.failure, found.output, found.gaps()) == (SUCCESS, 2, [])


@pytest.mark.parametrize(
    ("pieces", "failure", "words"),
    [
        ((said("a"),), WRONG, "ended before its last line"),
        ((said("a"), b'{"mess'), WRONG, "no line with a JSON object"),
        ((line({"error": "model not found"}),), ERROR, "model not found"),
        ((b"\xff\n",), WRONG, "no line with a JSON object"),
        ((), WRONG, "ended before its last line"),
    ],
)
def test_what_is_wrong_inside_of_a_status_200_is_a_failure_that_says_what(pieces: tuple[bytes, ...], failure: int, words: str) -> None:
    found = read(*pieces)
    assert found.failure == failure
    assert words in found.said


def test_the_model_stays_in_memory_and_the_options_are_those_of_the_recipe() -> None:
    driver = OllamaDriver(Work("http://h:1", {"model": "m", "max_tokens": 9, "temperature": 0.5, "sampling_seed": 3}))
    options = {"num_predict": 9, "temperature": 0.5, "seed": 3}
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "options": options, "keep_alive": -1}
    assert (driver.path, driver.body("hi")) == ("/api/chat", asked)
