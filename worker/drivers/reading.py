"""Defines what is read from the answer of a language model, whatever its protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from shared.request_records import ERROR, SUCCESS, WRONG
from shared.token_records import EVENTS, FINISHES, IDS, NAN, RECORD, UNKNOWN, USAGE

MOST = 2**32 - 1


@dataclass
class Reading:
    """Collects what an answer says, event by event. Times are of `perf_counter_ns`.

    Attributes:
        events: When each event with content arrived. Content is text, reasoning, or the call of a tool.
        answered: When the first event of the answer itself arrived, without reasoning; 0 if none did.
        finish: Why the answer ended, as the server says; empty if it does not.
        done: Whether the stream ended with the words that its protocol has for it.
        ids: The token ids in the answer, which some servers send.
        failure: What became of the request, a place in `shared.request_records.FAILURES`; `said` has the reason in words.
    """

    events: list[int] = field(default_factory=list)
    answered: int = 0
    finish: str = ""
    done: bool = False
    streamed: bool = True
    input: int = 0
    output: int = 0
    cached: int = 0
    ids: int = 0
    load_ns: float = NAN
    failure: int = SUCCESS
    said: str = ""

    def content(self, at: int, text: Any, reasoning: Any, *, last: bool) -> None:
        """Take note of an event.

        An event with an empty text counts if it comes after the first content and does not end the answer: it stands for a token that is
        no text yet, such as a part of a character. Before that, it announces the answer.
        """
        if not text and not reasoning and (last or not self.events or (text is None and reasoning is None)):
            return
        if text and not self.answered:
            self.answered = at
        self.events.append(at)

    def fail(self, failure: int, said: str) -> None:
        """Take note of the first thing that is wrong."""
        if self.failure == SUCCESS:
            self.failure, self.said = failure, said

    def error(self, error: Any) -> None:
        """Take note of an error that the server reports inside of an answer with the status 200."""
        message = error.get("message") if isinstance(error, dict) else None
        self.fail(ERROR, str(message or error)[:500])

    def ended(self) -> None:
        """Judge the answer as a whole, after its last event."""
        if self.streamed and not self.done and not self.finish:
            self.fail(WRONG, "the stream ended before the answer: neither its last words nor a reason why it ended has arrived")

    def record(self, sent: int) -> bytes:
        """Return the record of `shared.token_records`.

        Args:
            sent: When the request was sent.
        """
        times = self.events if self.streamed else []
        if self.output:
            output, source = self.output, USAGE
        elif self.ids:
            output, source = self.ids, IDS
        else:
            output, source = len(times), EVENTS if times else UNKNOWN
        finish = FINISHES.index(self.finish) if self.finish in FINISHES else FINISHES.index("other")
        return RECORD.pack(
            times[0] - sent if times else NAN,
            self.answered - sent if self.answered and times else NAN,
            times[-1] - sent if times else NAN,
            self.load_ns,
            min(self.input, MOST),
            min(output, MOST),
            min(self.cached, MOST),
            len(times),
            len(set(times)),
            source,
            finish,
            self.done,
            0,
        )

    def gaps(self) -> list[int]:
        """Return the times between two events that follow each other."""
        times = self.events if self.streamed else []
        return [after - before for before, after in pairwise(times)]


def whole(value: Any) -> int:
    """Return a number of tokens, or 0 if the server sends something else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
