from __future__ import annotations

import json
import logging
import sys

import pytest

from shared.log import JsonLines, Masked
from shared.masking import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("broker redis://:hunter2@host:6379/0 is away", "broker redis://***@host:6379/0 is away"),
        ("rediss://user:p%40ss@host", "rediss://***@host"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("redis://host:6379/0 and http://host:5000/api", "redis://host:6379/0 and http://host:5000/api"),
    ],
)
def test_no_password_is_logged(text: str, shown: str) -> None:
    assert masked(text) == shown


def _record(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ValueError("redis://:hunter2@host")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("worker.tasks", logging.WARNING, __file__, 1, message, args, info)


def test_a_line_is_one_json_object() -> None:
    line = JsonLines().format(_record("job %s: %s", "j", "two\nlines"))
    assert "\n" not in line
    parsed = json.loads(line)
    assert (parsed["level"], parsed["source"], parsed["message"]) == ("warning", "infrastructure", "job j: two\nlines")
    assert parsed["time"].endswith("+00:00")


def test_a_traceback_is_masked_as_well() -> None:
    for formatter in (JsonLines(), Masked("%(message)s")):
        text = formatter.format(_record("it failed", error=True))
        assert "ValueError" in text
        assert "hunter2" not in text
