from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client, sha256_of, stays_here
from cli.errors import EXIT_UNREACHABLE, EXIT_USAGE, ApiError, Away, Unreachable, exit_code
from tests.proxy_server import proxy_server
from tests.servers import free_port
from tests.unit.cli.scripted_server import ScriptedServer


def test_an_error_keeps_the_words_of_the_api(server: ScriptedServer) -> None:
    fields = [{"path": "jobs.0.num_inference_runs", "message": "must be at least 1, not 0"}]
    server.on("POST /api/campaigns", {"error": "InvalidInput", "detail": "one field is wrong", "fields": fields}, status=422)
    with Client(server.url) as client, pytest.raises(ApiError) as caught:
        client.post("campaigns", {})
    assert caught.value.detail == "one field is wrong"
    assert caught.value.fields[0].path == "jobs.0.num_inference_runs"
    assert exit_code(caught.value) == EXIT_USAGE


def test_a_degraded_orchestrator_counts_as_unreachable(server: ScriptedServer) -> None:
    server.on("GET /api/health", {"error": "Unavailable", "detail": "Redis does not answer"}, status=503)
    with Client(server.url) as client, pytest.raises(ApiError) as caught:
        client.get("health")
    assert exit_code(caught.value) == EXIT_UNREACHABLE


@pytest.mark.parametrize(("token", "hint"), [(None, True), ("wrong", False)])
def test_who_sends_no_token_is_told_where_the_command_takes_it_from(server: ScriptedServer, token: str | None, hint: bool) -> None:
    server.on("GET /api/campaigns", {"error": "Unauthorized", "detail": "this orchestrator wants a token"}, status=401)
    with Client(server.url, token) as client, pytest.raises(ApiError, match="wants a token") as caught:
        client.get("campaigns")
    assert ("FLEETMARK_TOKEN_FILE" in caught.value.detail) is hint


@pytest.mark.parametrize("answer", [{"message": "no route"}, ["no route"], {"error": "x", "detail": "y", "fields": [{}]}])
def test_json_that_is_not_of_an_orchestrator_is_recognised(server: ScriptedServer, answer: Any) -> None:
    server.on("GET /api/campaigns", answer, status=404)
    with Client(server.url) as client, pytest.raises(ApiError, match=r"404 .* not in the words of an orchestrator"):
        client.get("campaigns")


def test_nobody_listening_is_one_sentence_that_says_what_to_do() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(Unreachable, match="fleetmark up") as caught:
        client.get("health")
    assert exit_code(caught.value) == EXIT_UNREACHABLE


def test_another_web_server_at_the_address_is_recognised(server: ScriptedServer) -> None:
    server.on("GET /api/health", b"<html>a router's login page</html>", content_type="text/html")
    with Client(server.url) as client, pytest.raises(Unreachable, match="right address"):
        client.get("health")


def test_an_error_page_of_a_proxy_is_told_with_its_status(server: ScriptedServer) -> None:
    server.on("GET /api/health", b"<html>Bad Gateway</html>", status=502, content_type="text/html")
    with Client(server.url) as client, pytest.raises(ApiError, match="502") as caught:
        client.get("health")
    assert exit_code(caught.value) == EXIT_UNREACHABLE


def test_a_list_is_read_to_its_last_page(server: ScriptedServer) -> None:
    server.on(
        "GET /api/jobs", {"jobs": [{"job_id": "a"}, {"job_id": "b"}], "next_cursor": "2"}, {"jobs": [{"job_id": "c"}], "next_cursor": None}
    )
    with Client(server.url) as client:
        assert [job["job_id"] for job in client.pages("jobs", "jobs", status="failed", worker=None)] == ["a", "b", "c"]
    assert [request.query for request in server.requests] == [{"status": "failed"}, {"status": "failed", "cursor": "2"}]


def test_a_limit_stops_before_the_next_page_is_asked_for(server: ScriptedServer) -> None:
    server.on("GET /api/jobs", {"jobs": [{"job_id": "a"}, {"job_id": "b"}], "next_cursor": "2"})
    with Client(server.url) as client:
        assert [job["job_id"] for job in client.pages("jobs", "jobs", limit=2)] == ["a", "b"]
    assert len(server.requests) == 1


def test_the_token_travels_as_a_bearer_token(server: ScriptedServer) -> None:
    server.on("GET /api/workers", {"workers": []})
    with Client(server.url, "s3cret") as client:
        client.get("workers")
    assert server.requests[0].headers["Authorization"] == "Bearer s3cret"


def test_a_model_is_sent_whole_and_its_pieces_are_counted(server: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(range(256)) * 10_000)
    sha256 = sha256_of(file)
    server.on("POST /api/models", {"sha256": sha256, "size": file.stat().st_size}, status=201)
    pieces: list[int] = []
    with Client(server.url) as client:
        client.upload_model(file, sha256, pieces.append)
    assert hashlib.sha256(server.requests[0].body).hexdigest() == sha256
    assert server.requests[0].query["name"] == "model.onnx"
    assert sum(pieces) == 2_560_000
    assert len(pieces) == 3


def test_a_model_that_changed_while_it_was_sent_is_noticed(server: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"something else")
    server.on("POST /api/models", {"sha256": "0" * 64}, status=201)
    with Client(server.url) as client, pytest.raises(ApiError, match="changed"):
        client.upload_model(file, sha256_of(file), lambda _: None)


def test_what_the_orchestrator_lacks_is_told_from_what_it_has(server: ScriptedServer) -> None:
    server.on("HEAD /api/models/abc", {})
    with Client(server.url) as client:
        assert client.exists("models/abc")
        assert not client.exists("models/def")


def test_a_refusal_of_head_is_told_in_the_words_of_the_api(server: ScriptedServer) -> None:
    """An answer to HEAD has no body, so the client asks again with GET to get the API's message."""
    refusal = {"error": "Forbidden", "detail": "this needs the role submitter; your token (me) is a viewer's"}
    server.on("HEAD /api/models/abc", refusal, status=403)
    server.on("GET /api/models/abc", refusal, status=403)
    with Client(server.url) as client, pytest.raises(ApiError, match="your token \\(me\\) is a viewer's") as caught:
        client.exists("models/abc")
    assert caught.value.http_status == 403


def test_a_refusal_that_is_over_when_it_is_asked_about_is_not_a_download(server: ScriptedServer) -> None:
    server.on("HEAD /api/models/abc", {}, status=503)
    server.on("GET /api/models/abc", b"x" * 10, content_type="application/octet-stream")
    with Client(server.url) as client, pytest.raises(Away, match="503"):
        client.exists("models/abc")


def test_a_proxy_that_does_not_lead_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_server() as proxy:
        for name, value in proxy.environment().items():
            monkeypatch.setenv(name, value.replace("http://", "http://me:hunter2@"))
        with Client("http://lab.test:5000") as client, pytest.raises(Away, match=r"502 .* through the proxy http://\*\*\*@127") as caught:
            client.get("health")
        assert "hunter2" not in caught.value.detail
    with Client("http://lab.test:5000") as client, pytest.raises(Unreachable, match=r"through the proxy .*lab\.test in NO_PROXY"):
        client.get("health")  # the proxy has stopped


def test_a_refused_stream_is_an_error_and_not_a_file(server: ScriptedServer) -> None:
    with Client(server.url) as client, pytest.raises(ApiError, match="there is no"):
        list(client.stream("campaigns/campaign-none/results", format="csv"))


@pytest.mark.parametrize(
    ("host", "local"),
    [("http://127.0.0.1:5000", True), ("http://localhost:5000", True), ("http://[::1]:5000", True), ("http://lab:5000", False)],
)
def test_only_this_machine_is_spoken_to_without_a_proxy(host: str, local: bool) -> None:
    assert stays_here(host) is local
