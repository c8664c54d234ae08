from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from shared.log import JsonLines, Masked, about, source_of, writes_json


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


JOB = "campaign-01jd9zzzzzzzzzzzzz-job-3"
KEYS = ["time", "level", "source", "logger", "message", "campaign_id", "job_id", "worker_id", "request_id"]


def _json(message: str, *args: object, logger: str = "orchestrator.consumer", **extra: str) -> dict[str, object]:
    record = logging.LogRecord(logger, logging.WARNING, __file__, 1, message, args, None)
    record.__dict__.update(extra)
    line: dict[str, object] = json.loads(JsonLines().format(record))
    assert list(line) == KEYS, "every line has the same shape"
    return line


def test_a_line_names_the_job_that_its_message_names() -> None:
    line = _json("attempt %d of %s: started (%s)", 1, JOB, "worker-0123456789ab")
    assert (line["campaign_id"], line["job_id"], line["worker_id"]) == (JOB[:27], JOB, "worker-0123456789ab")
    assert _json("%s is accepted: 3 jobs", JOB[:27])["campaign_id"] == JOB[:27]
    nothing = _json("the worker-side queue reader ended")
    assert [nothing[key] for key in KEYS[5:]] == [None] * 4


def test_what_is_known_of_a_line_counts_more_than_what_it_says() -> None:
    other = JOB.replace("-job-3", "-job-4")
    with about(job_id=JOB):
        assert _json("a copy of %s was dropped", other)["job_id"] == JOB
        assert _json("the guard began", job_id=other)["job_id"] == other
    assert _json("the guard began")["job_id"] is None
    assert _json("a call", request_id="-")["request_id"] is None
    assert _json("a call", request_id="mine")["request_id"] == "mine"


def test_secrets_are_masked_in_json_too() -> None:
    assert _json("%s is away", "redis://:hunter2@lab:6379/0")["message"] == "redis://***@lab:6379/0 is away"


@pytest.mark.parametrize(
    ("logger", "source"),
    [
        ("worker.hardware.heat", "system"),
        ("worker.supervisor", "benchmark"),
        ("worker.agent.heart", "infrastructure"),
        ("orchestrator.api.access", "infrastructure"),
        ("orchestrator.reports.inferences.page", "benchmark"),
        ("uvicorn.error", "infrastructure"),
        ("root", "infrastructure"),
    ],
)
def test_a_line_says_what_it_is_about(logger: str, source: str) -> None:
    assert source_of(logger) == source


def test_a_terminal_gets_text_unless_json_is_asked_for() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert [writes_json(form, Terminal()) for form in ("auto", "text", "json")] == [False, False, True]
    assert [writes_json(form, io.StringIO()) for form in ("auto", "text", "json")] == [True, False, True]
