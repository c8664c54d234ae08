from __future__ import annotations

import pytest
import redis

from worker.agent.envelope import reading


def test_an_answer_that_does_not_come_is_the_connections_fault_and_no_letter() -> None:
    """A socket that is closed while it is read raises the same error as an invalid number."""
    letters: list[str] = []

    def take(_connection: object, _command: str) -> bytes:
        raise ValueError("Read on closed or unwrapped SSL socket.")

    with pytest.raises(redis.ConnectionError, match="closed or unwrapped"):
        reading(take, answered=lambda: letters.append("answered"), unreadable=lambda reason, _: letters.append(reason))(None, "BRPOP")
    assert letters == []


def test_what_is_read_comes_through_and_nothing_stays_nothing() -> None:
    answers: list[str] = []
    for answer in ((b"queue", b"{}"), None):
        assert (
            reading(lambda *_, answer=answer: answer, answered=lambda: answers.append("answered"), unreadable=_nobody)(None, "BRPOP")
            == answer
        )
    assert answers == ["answered", "answered"]
    assert reading(lambda *_: b"PONG", answered=lambda: answers.append("no question"), unreadable=_nobody)(None, "PING") == b"PONG"
    assert answers == ["answered", "answered"]


def _nobody(reason: str, text: str) -> None:
    raise AssertionError(f"{reason}: {text}")


def test_what_cannot_be_read_is_told_with_its_text_and_counts_as_nothing() -> None:
    letters: list[tuple[str, str]] = []
    for raw in (b"{", b"\xff", b"9" * 5_000, b'{"__type__": "decimal", "__value__": "no"}'):
        take = reading(lambda *_, raw=raw: (b"queue", raw), answered=lambda: None, unreadable=lambda *letter: letters.append(letter))
        assert take(None, "BRPOP") is None
    assert [text for _, text in letters] == ["{", "\\xff", "9" * 5_000, '{"__type__": "decimal", "__value__": "no"}']
    assert [reason.partition(":")[0] for reason, _ in letters] == ["not JSON", "not JSON", *["JSON that cannot be read"] * 2]
