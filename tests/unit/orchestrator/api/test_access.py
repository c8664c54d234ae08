from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest
from starlette.types import Message, Receive, Scope, Send

from orchestrator.api.access import Access, RequestIds
from orchestrator.api.credentials import Caller
from orchestrator.api.roles import set_caller
from shared.clock import FakeClock
from shared.tokens import Role


class Counts:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int, float]] = []

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        self.seen.append((method, route, status, seconds))


def scope(path: str, *headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": list(headers)}


def call(status: int, request: Scope, counts: Counts, *, times: int = 1, pause_s: float = 0.0) -> list[Message]:
    """Send requests through the middleware to an application that takes 1.5 s. Return what it answered to the last one."""
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    sent: list[Message] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        clock.advance(1.5)
        logging.getLogger("deep.inside").warning("noticed")
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    access = Access(app, clock, counts)
    for _ in range(times):
        sent.clear()
        asyncio.run(access(dict(request), receive, send))
        clock.advance(pause_s)
    return sent


def test_a_request_is_counted_by_its_route_and_never_by_its_path() -> None:
    counts = Counts()
    call(404, scope("/api/jobs/one-of-a-million"), counts)
    assert counts.seen == [("GET", "unmatched", 404, 1.5)]


def test_every_line_of_a_request_carries_its_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RequestIds())
    with caplog.at_level(logging.INFO):
        sent = call(200, scope("/api/jobs", (b"x-request-id", b"mine")), Counts())
    assert [(record.message, record.__dict__["request_id"]) for record in caplog.records] == [
        ("noticed", "mine"),
        ("GET /api/jobs 200 1500.0 ms", "mine"),
    ]
    assert (b"x-request-id", b"mine") in sent[0]["headers"]


def test_what_machines_ask_every_few_seconds_is_logged_when_it_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orchestrator.api.access"):
        call(200, scope("/api/health"), Counts())
        call(503, scope("/api/health"), Counts())
    assert [record.message for record in caplog.records if record.name == "orchestrator.api.access"] == ["GET /api/health 503 1500.0 ms"]


def test_a_path_cannot_begin_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    forged = "/x\n2026-01-01 INFO all is well"
    request = scope(forged)
    request["raw_path"] = b"/x%0A2026-01-01%20INFO%20all%20is%20well"
    with caplog.at_level(logging.INFO, logger="orchestrator.api.access"):
        call(404, request, Counts())
    (line,) = [record.message for record in caplog.records if record.name == "orchestrator.api.access"]
    assert line == "GET /x%0A2026-01-01%20INFO%20all%20is%20well 404 1500.0 ms"


def test_a_line_names_whose_token_it_was_and_never_the_token(caplog: pytest.LogCaptureFixture) -> None:
    request = scope("/api/jobs", (b"authorization", b"Bearer s3cret"))
    set_caller(request, Caller("lab-pi", Role.WORKER, "token-0123456789abcdefgh"))
    with caplog.at_level(logging.DEBUG):
        call(200, request, Counts())
    assert "GET /api/jobs 200 1500.0 ms by token-0123456789abcdefgh (worker)" in caplog.messages
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("method", "status", "lines"),
    [("GET", 200, 2), ("GET", 404, 61), ("POST", 201, 61)],
)
def test_repeated_reads_are_logged_once_a_minute(method: str, status: int, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    """61 requests follow each other with 0.5 s between the end of one and the start of the next. They take two minutes in all."""
    request = {**scope("/api/campaigns/campaign-1"), "method": method}
    with caplog.at_level(logging.INFO, logger="orchestrator.api.access"):
        call(status, request, Counts(), times=61, pause_s=0.4)
    assert len([record for record in caplog.records if record.name == "orchestrator.api.access"]) == lines


def test_only_so_many_reads_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.api.access.REMEMBERED", 3)
    # the application is never called
    access = Access(lambda *_: None, FakeClock(datetime(2026, 1, 1, tzinfo=UTC)), Counts())  # type: ignore[arg-type]
    for number in range(10):
        assert not access._is_usual(scope(f"/api/jobs/{number}"), "")
    assert len(access._reads) == 3
    assert access._is_usual(scope("/api/jobs/9"), "")
    assert not access._is_usual(scope("/api/jobs/1"), "")
