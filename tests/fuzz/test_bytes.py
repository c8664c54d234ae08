"""Tests that any bytes sent to a socket get a documented answer, and that refused requests change nothing."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, unquote

import h11
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.fuzz.budget import tried
from tests.fuzz.serving import ADMIN, Served
from tests.fuzz.values import JSON, LONG, damaged, places, put, written

ANSWER_S = 60.0
# These are the statuses that every call may return: unreadable, no access, no such path or method, too slow, too large, too many wrong
# tokens.
ALWAYS = {400, 401, 403, 404, 405, 408, 413, 429}
PATHS_THAT_ARE_NONE = ("/", "/docs", "/openapi.json", "/docs-assets/swagger-ui.css", "/api", "/api/", "//", "/metrics/", "*", "/api/jobs/")
UNKNOWN = {
    "campaign_id": "campaign-000000000000000000",
    "job_id": "campaign-000000000000000000-job-1",
    "worker_id": "worker-000000000000",
    "service_id": "campaign-000000000000000000-job-1.1",
    "token_id": "token-000000000000000000",
    "sha256": "0" * 64,
    "attempt": "1",
    "name": "samples.npz",
    "filename": "x.csv",
}
HEADER_VALUES = st.binary(max_size=30) | st.sampled_from(
    [
        *(b"", b"a" * 20_000, b"http://[", b"http://127.0.0.1", b"null", b"bytes=0-", b"bytes=9999999-", b"items=0-1"),
        *(b"bytes=5-1", b"bytes=" + b"0-0," * 50),
        *(b"sha-256=\xe9", b"sha-256=" + b"A" * 44, b"bytes 0-0/1", b"bytes 0-0/\xb2", b"bytes 9-0/1", b"Bearer \xff"),
        *(b"multipart/form-data", b"\xb2"),
        *(b"application/yaml", b"application/json; charset=\xff", b"gzip", b"100-continue", b"key", b"keep-alive, Upgrade"),
        *(b"websocket", b"*", b"W/"),
    ]
)
HEADER_NAMES = st.sampled_from(
    [
        *(b"Origin", b"Range", b"If-Range", b"If-None-Match", b"If-Modified-Since", b"Digest", b"Content-Range"),
        *(b"Content-Type", b"Content-Encoding"),
        *(b"Authorization", b"Idempotency-Key", b"X-Request-Id", b"Accept", b"Accept-Encoding", b"Cookie", b"Expect", b"Host"),
        *(b"Connection", b"Upgrade"),
        *(b"Transfer-Encoding", b"Content-Length", b"X-Forwarded-For", b"X-HTTP-Method-Override", b"Sec-WebSocket-Version"),
    ]
)
QUERIES = st.sampled_from(
    [
        *("cursor=WzFd", "cursor=" + "A" * 150, "limit=1e3", "limit=%00", "since=0", "since=99999999999999999999", "jobs=2"),
        *("format=%ff", "a=1", "=", "&"),
        *("sha256=" + "0" * 64, "name=%2e%2e", "name=%00", "name=" + "x" * 300, "name=a&name=b", "worker=%F0%9F%92%A5"),
        *("status=%ED%A0%80", "?" * 9),
        *("since=2026-01-01T00:00:00Z", "since=0001-01-01T00:00:00%2B23:59", "since=9999-12-31T23:59:59-23:59"),
        *("limit=" + "9" * 5000, "campaign="),
    ]
) | st.text(max_size=20).map(quote)
WORDS_IN_PATHS = st.text(max_size=12).map(lambda text: quote(text, safe="")) | st.sampled_from(
    ["..", "%2e%2e%2f", "%00", "%ff", "%ED%A0%80", "x" * 5000, "0", "-1", "9" * 5000, "%", "%zz", "a/b", ";", "campaign-", "%20"]
)
RECIPE = {
    "model": "https://models.example/m.onnx",
    "on": ["cpu.onnx"],
    "sweep": {"options.threads": [1, 2]},
    "options": {"shapes": {"x": [1]}},
}


PAGES = re.compile(r"/|/docs|/openapi\.json|/docs-assets/.*")  # these paths are for people and browsers, and are not in the OpenAPI file
OF_PAGES = {200, 206, 304, 307, 416}


@dataclass(frozen=True)
class Call:
    """Describes one operation of the OpenAPI file: its answers, and a body that it accepts."""

    method: str
    path: str
    statuses: frozenset[int]
    body: Any

    def takes(self, method: str, path: str) -> bool:
        pattern = re.sub(r"\\\{(\w+)\\\}", lambda name: ".*" if name[1] == "filename" else "[^/]+", re.escape(self.path))
        return self.method == method and re.fullmatch(pattern, path, re.DOTALL) is not None


def statuses_of(calls: list[Call], request: bytes) -> set[int]:
    """Return the answers to this request that the OpenAPI file allows."""
    method, target, *_ = request.decode("latin-1").split(" ", 2)
    path = unquote(target.partition("?")[0])
    documented = {status for call in calls if call.takes(method, path) for status in call.statuses}
    return ALWAYS | documented | (OF_PAGES if PAGES.fullmatch(path) else set())


def calls_of(document: dict[str, Any]) -> list[Call]:
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            statuses = frozenset(int(status) for status in operation["responses"])
            found.append(Call(method.upper(), path, statuses, media.get("example")))
    return found


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    media_type: str


def is_whole(request: bytes) -> bool:
    """Return True if a server has everything that it needs to answer. The request need not be valid HTTP."""
    parser = h11.Connection(h11.SERVER)
    if request:  # for h11, empty data means the end
        parser.receive_data(request)
    try:
        while isinstance(event := parser.next_event(), h11.Request | h11.Data):
            pass
    except h11.RemoteProtocolError:
        return True
    return event is not h11.NEED_DATA


def exchange(port: int, request: bytes, method: str) -> list[Answer]:
    """Send exactly these bytes, close the sending side if a server would wait for more, and read until the server closes the connection."""
    whole = is_whole(request)
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(request)
            if not whole:
                connection.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: connection.recv(65_536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return []  # the server refused the request while it was still being sent
    return list(_answers(received, method, whole=whole))


class _Received:
    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)
        self.file.close = lambda: None  # type: ignore[method-assign]  # several answers are read from one file

    def makefile(self, mode: str) -> io.BytesIO:
        return self.file


def _answers(received: bytes, method: str, *, whole: bool) -> Iterator[Answer]:
    source = _Received(received)
    while (start := source.file.tell()) < len(received):
        response = http.client.HTTPResponse(cast(socket.socket, source), method=method)
        response.begin()
        try:
            content = response.read()
        except http.client.IncompleteRead as error:
            if whole:
                raise
            content = error.partial  # a client that hangs up while an answer is streamed gets only a part of it
        if method == "HEAD" and not received.startswith(b"HTTP/", source.file.tell()) and source.file.tell() < len(received):
            source.file.seek(start)  # an unreadable request is refused with a body, even if its method was meant to be HEAD
        else:
            yield Answer(response.status, content, response.headers.get("Content-Type", ""))
        method = "GET"


def assert_an_answer(answer: Answer, statuses: set[int], method: str, request: bytes) -> None:
    assert answer.status in statuses, (request[:500], answer)
    if answer.status < 400 or method == "HEAD":
        return
    assert answer.media_type == "application/json", (request[:500], answer)
    content = json.loads(answer.content)
    assert content.keys() - {"fields"} == {"error", "detail"}, (request[:500], answer)
    assert isinstance(content["error"], str)
    assert content["detail"]


@pytest.fixture(scope="module")
def calls(served: Served) -> list[Call]:
    return calls_of(served.client.get("/openapi.json").json())


@pytest.fixture(scope="module")
def there(served: Served) -> dict[str, str]:
    """Return the ids of things that exist."""
    campaign = served.client.post(
        "/api/campaigns", json={"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}
    )
    worker = served.client.post("/api/register", json={"device_name": "x", "capabilities": ["gpu.coreml"]}).json()["worker_id"]
    model = served.client.post("/api/models?name=m.onnx", content=b"0123456789").json()["sha256"]
    job = campaign.json()["jobs"][0]["job_id"]
    token = served.client.post("/api/tokens", json={"name": "x", "role": "viewer"}).json()["token_id"]
    return UNKNOWN | {"token_id": token, "campaign_id": campaign.json()["campaign_id"], "job_id": job, "worker_id": worker, "sha256": model}


@st.composite
def requests(draw: st.DrawFn, calls: list[Call], there: dict[str, str], port: int) -> bytes:
    """Draw a request with mistakes in several places."""
    call = draw(st.sampled_from(calls))
    names = draw(st.sampled_from([there, UNKNOWN]))
    path = re.sub(r"\{(\w+)(:path)?\}", lambda found: names[found[1]] if draw(st.integers(0, 4)) else draw(WORDS_IN_PATHS), call.path)
    if not draw(st.integers(0, 9)):
        path = draw(
            st.sampled_from(PATHS_THAT_ARE_NONE) | WORDS_IN_PATHS.map("/api/".__add__) | WORDS_IN_PATHS.map("/docs-assets/".__add__)
        )
    query = "&".join(draw(st.lists(QUERIES, max_size=2))) if draw(st.booleans()) else ""
    method = (
        call.method if draw(st.integers(0, 9)) else draw(st.sampled_from(["GET", "OPTIONS", "TRACE", "PATCH", "DELETE", "BREW", "get"]))
    )
    body = draw(bodies(call))
    headers = draw(st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=3))
    if body or draw(st.booleans()):
        length = (
            len(body) if draw(st.integers(0, 4)) else draw(st.sampled_from([0, 1, len(body) + 5, -1, "+3", "1,1", "\xb2", 10**9, "9" * 30]))
        )
        headers.append((b"Content-Length", str(length).encode("latin-1")))
    if draw(st.integers(0, 9)):
        headers.append((b"Authorization", f"Bearer {ADMIN}".encode()))
    headers.append((b"Connection", b"close"))
    target = path + (f"?{query}" if query else "")
    lines = [f"{method} {target} HTTP/1.1".encode(), f"Host: 127.0.0.1:{port}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@st.composite
def bodies(draw: st.DrawFn, call: Call) -> bytes:
    if call.body is None:
        return draw(st.just(b"") | st.binary(max_size=40))
    valid = st.sampled_from([call.body, RECIPE]) if "model_url" in call.body or "on" in call.body else st.just(call.body)
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return written(draw(JSON)).encode()
    if kind == 2:
        text = written(draw(valid)).encode()
        place = draw(st.integers(0, len(text)))
        return text[:place] + draw(st.binary(max_size=3)) + text[place + draw(st.integers(0, 3)) :]
    if kind == 3:
        return draw(
            st.sampled_from(
                [b"[" * 5_000, b'{"a":' * 5_000, b"\xef\xbb\xbf{}", b'"\\ud800"', b'{"jobs": 1, "jobs": 2}', b"\xff\xfe{\x00}\x00"]
            )
        )
    if kind == 4:
        content = draw(valid)
        return written(
            put(
                content,
                draw(places(content)),
                draw(st.sampled_from([LONG, 2**63, float("nan"), float("inf"), "\ud800", "\x00", [[]], None])),
            )
        ).encode()
    return written(draw(damaged(valid))).encode()


@tried(500)
@given(data=st.data())
def test_any_bytes_are_answered_with_a_documented_status(
    served: Served, calls: list[Call], there: dict[str, str], data: st.DataObject
) -> None:
    request = data.draw(requests(calls, there, served.port))
    if b" /api/reset" in request:
        return  # this call would delete what the other cases use; test_openapi.py calls it
    method = request.partition(b" ")[0].decode()
    before = served.kept()
    answers = exchange(served.port, request, method)
    assert served.process.poll() is None
    for answer in answers[:1]:
        event(f"{answer.status}")
        assert_an_answer(answer, statuses_of(calls, request), method, request)
    for answer in answers[1:]:  # if a body is longer than its Content-Length, the rest is read as another request
        assert answer.status < 500, (request[:500], answer)
    if all(answer.status >= 400 for answer in answers):
        assert served.kept() == before, request[:500]


@tried(100)
@given(st.binary(max_size=300))
def test_what_is_no_request_is_refused_by_the_parser(served: Served, content: bytes) -> None:
    for answer in exchange(served.port, content, "GET"):
        assert_an_answer(answer, ALWAYS, "GET", content)
