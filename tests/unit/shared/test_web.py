from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from shared.errors import InvalidInput
from shared.web import FAILURES, by_way_of, web_client
from tests.proxy_server import ProxyServer, proxy_server
from tests.unit.cli.scripted_server import ScriptedServer, scripted_server

ODD_NO_PROXY = ["::1/128", "fd00::/8", "[::1]", "localhost,127.0.0.1,::1,[::1],10.0.0.0/8,*.corp", "[", "http://"]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProxyServer]:
    with proxy_server() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        running.on("GET /api/health", {"status": "healthy"})
        yield running


def _ask(address: str) -> httpx.Response:
    with web_client(address, timeout=5) as client:
        return client.get("/api/health")


def test_loopback_is_asked_directly_and_another_host_through_the_proxy(proxy: ProxyServer, server: ScriptedServer) -> None:
    assert _ask(server.url).json() == {"status": "healthy"}
    assert _ask(server.url.replace("127.0.0.1", "localhost")).json() == {"status": "healthy"}
    assert proxy.asked == []
    proxy.leads_to["lab.test:5000"] = server.url.removeprefix("http://")
    assert _ask("http://lab.test:5000").json() == {"status": "healthy"}
    assert proxy.asked == ["GET http://lab.test:5000/api/health"]


def test_https_is_asked_through_a_tunnel(proxy: ProxyServer) -> None:
    proxy.refuses_with = 403
    with pytest.raises(httpx.ProxyError, match="403"):
        _ask("https://lab.test")
    assert proxy.asked == ["CONNECT lab.test:443"]


def test_a_server_that_was_started_here_is_asked_directly_by_any_name(proxy: ProxyServer) -> None:
    with web_client("http://name-that-nobody-knows.invalid:5000", timeout=5, direct=True) as client, pytest.raises(httpx.ConnectError):
        client.get("/api/health")
    assert proxy.asked == []


@pytest.mark.parametrize("listed", ODD_NO_PROXY)
def test_no_value_of_no_proxy_is_an_error(proxy: ProxyServer, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, listed)
    assert _ask(server.url).json() == {"status": "healthy"}
    proxy.leads_to["lab.test:5000"] = server.url.removeprefix("http://")
    assert _ask("http://lab.test:5000").json() == {"status": "healthy"}
    assert proxy.asked == ["GET http://lab.test:5000/api/health"]


@pytest.mark.parametrize("address", ["socks5://me:hunter2@proxy:1080", "ftp://proxy:21", "http://[::1", "http://me:hunter2@"])
def test_a_proxy_that_cannot_be_used_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, address)
    with pytest.raises(InvalidInput, match=r"HTTP_PROXY.*cannot be used.*lab\.test in NO_PROXY") as caught:
        web_client("http://lab.test:5000", timeout=5)
    assert "hunter2" not in caught.value.detail


def test_a_file_of_certificates_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(InvalidInput, match="SSL_CERT_FILE"):
        web_client("https://lab.test", timeout=5)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_name_that_no_resolver_takes_is_a_failure_like_any_other(host: str) -> None:
    with web_client(f"http://{host}:5000", timeout=5) as client, pytest.raises(FAILURES):
        client.get("/api/health")


def test_an_error_can_say_which_way_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://me:hunter2@proxy:3128")
    assert by_way_of("http://lab.test:5000") == " through the proxy http://***@proxy:3128 (HTTP_PROXY)"
    assert by_way_of("http://127.0.0.1:5000") == ""
