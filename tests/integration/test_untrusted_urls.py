"""Tests hostile URLs over real connections: what a worker connects to, for how long, and how much it downloads."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from shared.errors import ModelUnavailable
from shared.inputs import ModelRef
from tests import onnx_models
from tests.file_server import FileServer, file_server
from tests.integration.worker_process import CAMPAIGN, fleet_at, tiny_job
from tests.servers import free_port
from tests.tls import Authority, tls_in_front_of
from worker.hardware.probe import PROBE_MODEL
from worker.models import FetchedModel, ModelStore, Own, addresses, transport

CONTENT = bytes(range(256)) * 4096
SETTING = "FLEETMARK_WORKER_ALLOW_PRIVATE_URLS=true"


def fetch(cache: Path, source: str, **options: Any) -> FetchedModel:
    store = ModelStore(cache, **{"host": None, "token": None, "max_bytes": 2**30, **options})
    return store.fetch(ModelRef(source=source, name="m.onnx"), lambda _share: None)


def refused(cache: Path, source: str, **options: Any) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        fetch(cache, source, **options)
    assert not any(path.is_file() for path in cache.glob("blobs/*"))
    return caught.value.detail


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server(model__onnx=CONTENT) as running:
        yield running


# These tests are about addresses.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_an_address_of_this_device_is_refused_however_it_is_written(cache: Path, server: FileServer, host: str) -> None:
    url = f"http://{host}:{server.url.rpartition(':')[2]}/model.onnx"
    reason = refused(cache, url)
    assert reason.startswith(f"{url} is at ")
    assert "which is no public address" in reason
    assert SETTING in reason
    assert server.requests == []  # no request was sent


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/m.onnx", "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/m", "https://[fd00::1]/m"]
)
def test_an_address_of_the_own_network_is_refused_before_anything_is_sent(cache: Path, url: str) -> None:
    assert "which is no public address" in refused(cache, url)


def test_a_worker_that_allows_it_fetches_from_its_own_network(cache: Path, server: FileServer) -> None:
    assert fetch(cache, f"{server.url}/model.onnx", allow_private=True).path.read_bytes() == CONTENT


def test_a_name_that_means_another_address_a_moment_later_gains_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, server: FileServer
) -> None:
    """127.0.0.2 stands for a public address. 127.0.0.1 is the address to which the name changes after it was checked."""
    port = int(server.url.rpartition(":")[2])
    answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
    real = socket.getaddrinfo

    def rebinding(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real(next(answers) if host == "rebinding.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(transport, "is_public", lambda address: address == "127.0.0.2")
    with file_server(("127.0.0.2", port), model__onnx=b"from the address that was looked at") as public:
        fetched = fetch(cache, f"http://rebinding.example:{port}/model.onnx")
        assert fetched.path.read_bytes() == b"from the address that was looked at"
        assert "is at 127.0.0.1" in _reason(cache, f"http://rebinding.example:{port}/other.onnx")
    assert [headers["Host"] for _, headers in public.requests] == [f"rebinding.example:{port}"]
    assert server.requests == []


def _reason(cache: Path, source: str) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        fetch(cache, source)
    return caught.value.detail


def test_a_name_with_one_private_address_among_others_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: both)
    monkeypatch.setattr(transport, "is_public", lambda address: address == "192.0.2.1")
    assert "is at 127.0.0.1" in refused(cache, "http://two.example/m.onnx")


def test_a_redirect_is_looked_at_like_a_url_of_its_own(cache: Path, server: FileServer) -> None:
    """The worker's own settings lead to the first address. The address to which it redirects is not trusted."""
    port = server.url.rpartition(":")[2]
    server.redirects["/org/repo/resolve/main/m.onnx"] = f"http://localhost:{port}/model.onnx"
    reason = refused(cache, "hf://org/repo/m.onnx", hub=Own(server.url))
    assert f"leads to http://localhost:{port}/model.onnx, which is at" in reason
    assert SETTING in reason
    assert [path for path, _ in server.requests] == ["/org/repo/resolve/main/m.onnx"]


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    client = transport.open_client(transport.Transport(httpx.create_ssl_context(), _patience(), own_host=None, allow_private=True))
    (look_at,) = client.event_hooks["response"]
    secure, plain = httpx.Request("GET", "https://models.example/m"), httpx.Request("GET", "http://models.example/m")
    with pytest.raises(transport.Refused, match=r"redirects from https to http://models\.example"):
        look_at(httpx.Response(302, headers={"Location": "http://models.example/m"}, request=secure))
    look_at(httpx.Response(302, headers={"Location": "/other"}, request=secure))
    look_at(httpx.Response(302, headers={"Location": "https://models.example/m"}, request=plain))
    client.close()


def _patience() -> transport.Patience:
    from shared.clock import SystemClock

    return transport.Patience("m", SystemClock(), 60, lambda _share: None)


def test_endless_redirects_end(cache: Path, server: FileServer) -> None:
    server.redirects = {f"/{number}": f"/{number + 1}" for number in range(100)}
    reason = refused(cache, f"{server.url}/0", allow_private=True)
    assert "cannot be followed" in reason
    assert len(server.requests) == transport.MAX_REDIRECTS + 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "ws://127.0.0.1/m", "http://[", "data:,x"])
def test_a_redirect_to_what_is_no_web_address_is_refused(cache: Path, server: FileServer, target: str) -> None:
    server.redirects["/moved"] = target
    assert f"{server.url}/moved" in refused(cache, f"{server.url}/moved", allow_private=True)


def test_a_proxy_is_used_only_where_the_worker_trusts_it(cache: Path, monkeypatch: pytest.MonkeyPatch, server: FileServer) -> None:
    """The worker cannot check to which address a proxy connects."""
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//user:secret@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.files["http://models.example/model.onnx"] = CONTENT
    reason = refused(cache, "http://models.example/model.onnx")
    assert f"would be fetched through the proxy {server.url.replace('//', '//***@')} (HTTP_PROXY)" in reason
    assert SETTING in reason
    assert "secret" not in reason
    assert server.requests == []
    assert fetch(cache, "http://models.example/model.onnx", allow_private=True).path.read_bytes() == CONTENT
    assert server.requests[0][0] == "http://models.example/model.onnx"
    monkeypatch.setenv("no_proxy", "models.example")
    assert "is not known here" in _reason_without_network(cache, monkeypatch, "http://models.example/again.onnx")


def test_a_proxy_that_speaks_tls_is_believed_by_the_worker_s_own_authorities(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FileServer
) -> None:
    authority = Authority(tmp_path / "authority")
    server.files["http://models.example/model.onnx"] = CONTENT
    with tls_in_front_of(urlsplit(server.url).port or 0, authority) as port:
        monkeypatch.setenv("http_proxy", f"https://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        fetched = fetch(cache, "http://models.example/model.onnx", allow_private=True, ca_file=authority.ca_file)
    assert fetched.path.read_bytes() == CONTENT


def _reason_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    def nobody(*_args: Any, **_kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    return _reason(cache, source)


def test_an_invalid_host_name_is_a_reason_and_no_traceback(cache: Path) -> None:
    for host in ("x" * 64 + ".example", "a..b"):
        assert "cannot be reached" in refused(cache, f"http://{host}/m.onnx")
    for url in ("http://", "http:///m.onnx", "http://[::1/m.onnx", "http://exa mple/m", "http://host:99999999/m"):
        assert refused(cache, url).startswith(url)


# These tests are about time.


@contextlib.contextmanager
def dripping(beginning: bytes, begun: threading.Event | None = None) -> Iterator[str]:
    """Yield a server that sends `beginning` and then single bytes, as long as a client listens. It sets `begun` in between."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):  # this also covers an `accept` for which no client came
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(beginning)
                if begun is not None:
                    begun.set()
                while not over.wait(0.05):
                    connection.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/m.onnx"
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # `close` alone does not end an `accept`
        listener.close()
        thread.join()


HEADERS, BODY = b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize("beginning", [b"", HEADERS, BODY], ids=["status line", "headers", "body"])
def test_a_byte_now_and_then_does_not_keep_a_fetch_alive(cache: Path, beginning: bytes) -> None:
    with dripping(beginning) as url:
        reason = refused(cache, url, allow_private=True, timeout_s=0.5)
    assert f"{url} was not fetched within" in reason


@pytest.mark.parametrize("beginning", [HEADERS, BODY], ids=["headers", "body"])
def test_a_cancel_is_heard_while_a_server_drips(cache: Path, beginning: bytes) -> None:
    class Cancelled(Exception):
        pass

    cancelled = threading.Event()

    def look(_share: float | None) -> None:
        if cancelled.is_set():
            raise Cancelled

    store = ModelStore(cache, host=None, token=None, max_bytes=2**30, allow_private=True)
    with dripping(beginning, cancelled) as url, pytest.raises(Cancelled):
        store.fetch(ModelRef(source=url, name="m"), look)


# These tests are about size.


def test_a_packed_answer_is_refused_and_never_unpacked(cache: Path, server: FileServer) -> None:
    server.files["/bomb.onnx"] = gzip.compress(bytes(50 << 20))
    server.headers = {"Content-Encoding": "gzip"}
    reason = refused(cache, f"{server.url}/bomb.onnx", allow_private=True)
    assert "sends the file as 'gzip', though it was asked for as it is" in reason
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    assert not list(cache.glob("partial/*"))


def test_a_wrong_content_length_is_detected(cache: Path, server: FileServer) -> None:
    server.headers = {"Content-Length": str(len(CONTENT) + 1), "Connection": "close"}
    server.cut_after, server.cut_always = len(CONTENT), True
    assert "is truncated" in refused(cache, f"{server.url}/model.onnx", allow_private=True)
    server.cut_after, server.headers = None, {"Content-Length": "10", "Connection": "close"}
    assert fetch(cache / "short", f"{server.url}/model.onnx", allow_private=True).path.read_bytes() == CONTENT[:10]
    for nonsense in ("-1", "1e3", "9" * 400):
        server.headers = {"Content-Length": nonsense, "Connection": "close"}
        assert f"{server.url}/model.onnx" in refused(cache, f"{server.url}/model.onnx", allow_private=True)


def test_the_limit_holds_for_a_model_and_what_lies_beside_it_together(cache: Path, tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.external(tmp_path / "made", location="w.bin")
    weights = (tmp_path / "made" / "w.bin").read_bytes()
    server.files |= {"/m.onnx": path.read_bytes(), "/w.bin": weights}
    limit = path.stat().st_size + len(weights)
    with pytest.raises(ModelUnavailable, match=f"leaves {len(weights) - 1} bytes for it"):
        fetch(cache, f"{server.url}/m.onnx", allow_private=True, max_bytes=limit - 1)
    assert fetch(cache, f"{server.url}/m.onnx", allow_private=True, max_bytes=limit).size == limit


def test_a_server_that_goes_on_with_another_file_is_started_over(cache: Path, server: FileServer) -> None:
    """The server ignores If-Range, so the second half would belong to another file than the first."""
    server.cut_after, server.cut_always, server.ranges = 1000, True, False
    with pytest.raises(ModelUnavailable, match="truncated"):
        fetch(cache, f"{server.url}/model.onnx", allow_private=True)
    other = bytes(len(CONTENT))
    server.cut_after, server.ranges, server.if_range, server.files["/model.onnx"] = None, True, False, other
    assert fetch(cache, f"{server.url}/model.onnx", allow_private=True).path.read_bytes() == other


# These tests are about the model hub.


def test_a_model_of_a_hub_is_found_by_revision_with_what_lies_beside_it(cache: Path, tmp_path: Path, server: FileServer) -> None:
    path = onnx_models.external(tmp_path / "made", location="model.onnx_data")
    base = "/org/re.po-1/resolve/refs%2Fpr%2F3/onnx"
    server.files |= {f"{base}/model.onnx": path.read_bytes(), f"{base}/model.onnx_data": (path.parent / "model.onnx_data").read_bytes()}
    fetched = fetch(cache, "hf://org/re.po-1@refs/pr/3/onnx/model.onnx", hub=Own(f"{server.url}/", "hf_secret"))
    assert fetched.size == sum(len(content) for path, content in server.files.items() if path.startswith(base))
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer hf_secret"] * 2
    fetch(cache, "hf://org/re.po-1@refs/pr/3/onnx/model.onnx", hub=Own(server.url, "hf_secret"))
    assert server.answers[2:] == [304, 304]


def test_the_hubs_token_stays_with_the_hub(cache: Path, server: FileServer) -> None:
    """The token is not sent to where the hub redirects or to another URL, and it is not in any error."""
    with file_server(blob=CONTENT) as elsewhere:
        server.redirects["/org/repo/resolve/main/m.onnx"] = f"{elsewhere.url}/blob"
        assert fetch(cache, "hf://org/repo/m.onnx", hub=Own(server.url, "hf_secret"), allow_private=True).size == len(CONTENT)
        assert "Authorization" in server.requests[0][1]
        assert "Authorization" not in elsewhere.requests[0][1]
        fetch(cache, f"{elsewhere.url}/blob?again", hub=Own(server.url, "hf_secret"), allow_private=True)
        fetch(cache, f"{server.url}/model.onnx", hub=Own(server.url, "hf_secret"), allow_private=True)
        assert "Authorization" not in elsewhere.requests[-1][1]
        assert "Authorization" not in server.requests[-1][1]
    server.status = 401
    reason = _reason_of_hub(cache, server)
    assert "answered 401" in reason
    assert "hf_secret" not in reason


def _reason_of_hub(cache: Path, server: FileServer) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        fetch(cache, "hf://org/repo/other.onnx", hub=Own(server.url, "hf_secret"))
    return caught.value.detail


@pytest.mark.parametrize(
    "source", ["hf://org/m.onnx", "hf://org/repo/../../x", "hf://org/repo@/m.onnx", "hf://org/repo/m.onnx?x=1", "hf://"]
)
def test_what_is_no_address_on_a_hub_says_what_one_looks_like(cache: Path, source: str) -> None:
    assert "hf://org/repo[@revision]/path/to/model.onnx" in refused(cache, source)


def test_a_worker_measures_a_model_of_its_hub_and_refuses_one_of_its_own_network(
    redis_url: str, tmp_path: Path, server: FileServer
) -> None:
    server.files["/org/repo/resolve/main/tiny.onnx"] = PROBE_MODEL
    with fleet_at(redis_url, tmp_path) as fleet:
        worker = fleet.start(HF_ENDPOINT=server.url, HF_TOKEN="hf_secret")
        fleet.registered(worker)
        job = tiny_job(tmp_path)
        sources = ("hf://org/repo/tiny.onnx", f"{server.url}/org/repo/resolve/main/tiny.onnx")
        jobs = []
        for number, source in enumerate(sources, start=1):
            model = ModelRef(source=source, name="tiny.onnx")
            workload = job.workload.model_copy(update={"inputs": {"model": model}})
            jobs.append(job.model_copy(update={"job_id": f"{CAMPAIGN}-job-{number}", "workload": workload}))
            fleet.send(jobs[-1])
        measured, refusal = (fleet.report("result", one.job_id) for one in jobs)
        assert (measured.status, measured.error) == ("complete", "")
        assert (refusal.status, refusal.error_kind) == ("failed", "model_unavailable")
        assert SETTING in refusal.error
        assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer hf_secret"]
        assert "hf_secret" not in worker.log() + measured.model_dump_json() + refusal.model_dump_json()


def test_nobody_listens_on_a_port_that_was_free(cache: Path) -> None:
    assert "cannot be reached" in refused(cache, "hf://org/repo/m.onnx", hub=Own(f"http://127.0.0.1:{free_port()}"))


def test_the_addresses_of_this_machine_are_known_for_what_they_are() -> None:
    assert not any(addresses.is_public(address) for address in addresses.resolve("localhost", 80))
