from __future__ import annotations

import logging
import sys

import pytest

from shared.log import Masked


def _lines(message: str, *args: object, error: Exception | None = None) -> list[str]:
    info = None
    if error is not None:
        try:
            raise error
        except Exception:
            info = sys.exc_info()
    record = logging.LogRecord("orchestrator.consumer", logging.WARNING, __file__, 1, message, args, info)
    return Masked("12:00 %(levelname)s %(name)s: %(message)s").format(record).split("\n")


def test_a_record_is_one_line_whatever_it_quotes() -> None:
    [line] = _lines("unreadable: %s", "x\n12:00 INFO orchestrator: all is well\r\x1b[2J\u2028\u202e\ud800")
    assert (
        line == "12:00 WARNING orchestrator.consumer: unreadable: x\\n12:00 INFO orchestrator: all is well\\r\\x1b[2J\\u2028\\u202e\\ud800"
    )


def test_an_error_that_quotes_lines_of_a_log_makes_none() -> None:
    first, *rest = _lines("it failed", error=ValueError("x\n12:00 INFO orchestrator: all is well\x1b[2J\r\x0b redis://:hunter2@host"))
    assert first == "12:00 WARNING orchestrator.consumer: it failed"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert rest[-1] == "    12:00 INFO orchestrator: all is well\\x1b[2J\\r\\x0b redis://***@host"


@pytest.mark.parametrize("text", ["Gerät 3 – 5 µs", "模型", "tab\there"])
def test_plain_text_is_logged_as_it_is(text: str) -> None:
    assert _lines("%s", text) == [f"12:00 WARNING orchestrator.consumer: {text}"]
