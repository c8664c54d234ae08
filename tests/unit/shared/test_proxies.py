from __future__ import annotations

import pytest

from shared.hosts import is_this_machine
from shared.proxies import is_listed, proxy_for
from tests.proxy_server import VARIABLES


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "localhost.", "demo.localhost"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::]", "0.0.0.0"),
    ],
)
def test_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy:3128")
    assert is_this_machine(host)
    assert proxy_for(f"http://{host}:5000") is None
    assert proxy_for(f"https://{host}") is None


@pytest.mark.parametrize("host", ["lab", "10.0.0.7", "[fe80::1]", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost"])
def test_every_other_host_follows_the_environment(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    found = proxy_for(f"http://{host}:5000")
    assert found is not None
    assert (found.address, found.variable) == ("http://proxy:3128", "HTTP_PROXY")


def test_each_scheme_has_its_variable_and_all_stands_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "proxy:1")
    monkeypatch.setenv("https_proxy", "http://secure:2")
    assert str(proxy_for("http://lab")) == "the proxy http://proxy:1 (ALL_PROXY)"
    assert str(proxy_for("https://lab")) == "the proxy http://secure:2 (HTTPS_PROXY)"


def test_a_proxy_is_named_without_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@proxy:3128")
    assert str(proxy_for("http://lab")) == "the proxy http://***@proxy:3128 (HTTP_PROXY)"


@pytest.mark.parametrize(
    ("host", "port", "listed"),
    [
        ("lab", 5000, "lab"),
        ("LAB.", 5000, "Lab"),
        ("lab", 5000, "other, lab"),
        ("lab", 5000, "other lab"),
        ("lab", 5000, "*"),
        ("lab", 5000, "lab:5000"),
        ("gpu.lab.example", 5000, "lab.example"),
        ("gpu.lab.example", 5000, ".lab.example"),
        ("gpu.lab.example", 5000, "*.lab.example"),
        ("10.1.2.3", 80, "10.0.0.0/8"),
        ("10.1.2.3", 80, "10.1.2.3:80"),
        ("fd00::7", 5000, "fd00::/8"),
        ("fd00::7", 5000, "[fd00::7]"),
        ("fd00::7", 5000, "fd00::7"),
        ("fd00::7", 5000, "[fd00::7]:5000"),
        ("fd00::7", 5000, "[fd00::]/8"),
        ("::1", 5000, "::1/128"),
    ],
)
def test_no_proxy_names_hosts_as_people_write_them(host: str, port: int, listed: str) -> None:
    assert is_listed(host, port, listed)


@pytest.mark.parametrize(
    ("host", "port", "listed"),
    [
        ("lab", 5000, ""),
        ("lab", 5000, ",,"),
        ("lab", 5000, "lab:80"),
        ("mylab", 5000, "lab"),
        ("10.1.2.3", 80, "11.0.0.0/8"),
        ("fd00::7", 5000, "10.0.0.0/8"),
        ("fe00::7", 5000, "[fd00::7], fd00::/8, ::1/128, [::1], [, ], [::, http://x, %%%, 1/2/3"),
        ("lab", 5000, "."),
    ],
)
def test_no_proxy_does_not_name_others_and_nonsense_in_it_is_no_error(host: str, port: int, listed: str) -> None:
    assert not is_listed(host, port, listed)
