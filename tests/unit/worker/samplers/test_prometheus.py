from __future__ import annotations

import gzip
import math
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests import sampled
from tests.server_threads import http_thread
from worker.samplers.base import Place, Vanished
from worker.samplers.metrics_text import MAX_BYTES, NoPage, fetch
from worker.samplers.prometheus import parse
from worker.samplers.registry import make


def test_gauges_and_counters_are_read_and_the_parts_of_histograms_are_not() -> None:
    assert parse(sampled.PAGE, "http://x/metrics") == {
        'requests_total{method="get",path="/a b\\"c"}': 1027.0,
        'requests_total{method="post"}': 3.0,
        "queue_depth": 12.5,
        "up": 1.0,
    }


def test_openmetrics_with_exemplars_and_its_end_are_read() -> None:
    page = '# TYPE a counter\na_total 5 # {trace_id="x"} 1.0 1520879607.789\na_created 123\nb NaN\nc +Inf\nd 2\n# EOF\n'
    found = parse(page, "http://x")
    assert {name: value for name, value in found.items() if math.isfinite(value)} == {"a_total": 5.0, "d": 2.0}
    assert found.keys() == {"a_total", "b", "c", "d"}, "what is not finite now may be so later"


@pytest.mark.parametrize(
    "page",
    [
        "<html><body>hello</body></html>",
        '{"status": "healthy"}',
        "up one",
        "up",
        "9up 1",
        'a{b="c" 1',
        "a b c d e",
        "\x00\x01\x02",
        "up 1_0",
        '{a="b"} 1',
        "{} 1",
    ],
)
def test_a_page_that_is_no_prometheus_text_is_refused_with_its_line(page: str) -> None:
    with pytest.raises(
        NoPage, match=r"http://x/metrics is no page of Prometheus metrics: its line 1 is .* a line of it is `name\{labels\} number`"
    ):
        parse(page, "http://x/metrics")


def test_a_page_without_series_is_refused() -> None:
    with pytest.raises(NoPage, match="has no gauge and no counter"):
        parse("# HELP nothing here\n\n", "http://x/metrics")


def test_what_is_no_page_is_said_with_its_address() -> None:
    with pytest.raises(NoPage, match="must start with http:// or https://"):
        fetch("file:///etc/passwd")
    with pytest.raises(NoPage, match=r"http://127\.0\.0\.1:1/metrics does not answer"):
        fetch("http://127.0.0.1:1/metrics")
    with sampled.metrics_page() as served:
        served.status = 404
        with pytest.raises(NoPage, match="answers 404; name the page with the metrics"):
            fetch(served.url)
        served.status, served.page = 200, "a" * (MAX_BYTES + 1)
        with pytest.raises(NoPage, match="is larger than 4 MB"):
            fetch(served.url)


def test_a_page_that_goes_away_is_null_with_its_reason_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.samplers.prometheus.PERIOD_S", 0.01)
    with sampled.metrics_page() as served:
        sampler = make("prometheus", Place(tmp_path, metrics_url=served.url))
        names = [column.name for column in sampler.open()]
        depth = names.index("metrics_queue_depth")

        def seen(ready: object, until: float = 10.0) -> float | None:
            end = time.monotonic() + until
            while time.monotonic() < end:
                value = sampler.read()[depth]
                if ready(value):  # type: ignore[operator]
                    return value
                time.sleep(0.005)
            raise AssertionError("it did not come")

        served.page = served.page.replace("queue_depth 12.5", "queue_depth 99")
        assert seen(lambda value: value == 99) == 99
        served.page = "<html>"
        end = time.monotonic() + 10
        while not sampler.missing() and time.monotonic() < end:
            time.sleep(0.005)
        assert "is no page of Prometheus metrics" in sampler.missing()["metrics_queue_depth"]
        served.page = sampled.PAGE
        assert seen(lambda value: value == 12.5) == 12.5
        assert sampler.missing() == {}
        sampler.close()


def test_a_page_that_cannot_be_read_at_the_start_is_a_reason(tmp_path: Path) -> None:
    with sampled.metrics_page() as served:
        served.page = "not a page"
        with pytest.raises(Vanished, match="its line 1 is 'not a page'"):
            make("prometheus", Place(tmp_path, metrics_url=served.url)).open()


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x1c", "}{"])
def test_the_value_of_a_label_may_have_any_character(odd: str) -> None:
    assert parse(f'\ufeffa{{l="x{odd}y"}} 1\r\nb {{c="d"}} 2'.removeprefix("\ufeff"), "http://x") == {
        f'a{{l="x{odd}y"}}': 1.0,
        'b{c="d"}': 2.0,
    }


def test_a_name_in_quotes_is_read_as_prometheus_3_writes_it() -> None:
    parts = '{"h.s_bucket",le="1"} 3\n{"h.s_sum"} 4\n{"h.s_count"} 5'
    page = f'# TYPE "h.s" histogram\n{parts}\n# TYPE "my.metric" gauge\n{{"my.metric",a="b"}} 1\n{{"other.one"}} 2'
    assert parse(page, "http://x") == {'{"my.metric",a="b"}': 1.0, '{"other.one"}': 2.0}


@pytest.fixture
def odd_pages() -> Iterator[str]:
    """Serve pages as servers send them that are not quite right."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            packed = gzip.compress(b"up 1\n" * (10**6 if self.path == "/bomb" else 1))
            where = {
                "/redirected": "/login",
                "/ftp": "ftp://127.0.0.1/metrics",
                "/loop": "/loop",
                "/elsewhere": f"http://localhost:{port}/who",
                "/elsewhere-login": f"http://localhost:{port}/login",
            }
            if self.path == "/silent":
                self.wfile.write(b"\r\n")
                return
            if self.path == "/login" and self.headers["Authorization"] != "Basic bWU6YTpi":
                self.send_response(401)
            else:
                self.send_response(302 if self.path in where else 200)
            for name, value in {
                "Location": where.get(self.path),
                "Content-Encoding": "gzip" if self.path in ("/gzip", "/bomb", "/no-gzip") else None,
                "Content-Length": "1000" if self.path == "/cut" else None,
            }.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            said = "1" if self.headers["Authorization"] else "0"
            self.wfile.write(packed if self.path in ("/gzip", "/bomb") else f"up 1\nlogin {said}\n".encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http_thread(Handler) as port:
        yield f"127.0.0.1:{port}"


def test_a_page_is_read_packed_with_a_login_and_elsewhere_without_one(odd_pages: str) -> None:
    assert fetch(f"HTTP://{odd_pages}/gzip") == "up 1\n"
    assert parse(fetch(f"http://me:a%3Ab@{odd_pages}/login"), "x")["login"] == 1
    assert parse(fetch(f"http://me:a%3Ab@{odd_pages}/elsewhere"), "x")["login"] == 0


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("bomb", "is larger than 4 MB"),
        ("no-gzip", "cannot be read: .*incorrect header"),
        ("cut", "ended too early, after 13 bytes"),
        ("ftp", "unknown url type: ftp"),
        ("loop", "answers 302"),
        ("redirected", "answers 401; it asks for a login, and it refuses that of the address: check the user and the password"),
        ("silent", r"does not answer: BadStatusLine$"),
    ],
)
def test_a_page_that_is_not_quite_right_is_refused_and_no_message_has_its_login(odd_pages: str, path: str, said: str) -> None:
    with pytest.raises(NoPage, match=said) as refused:
        fetch(f"http://me:secret@{odd_pages}/{path}")
    assert "secret" not in str(refused.value)
    assert "***@" in str(refused.value)


def test_a_login_is_sent_again_after_a_redirection_on_the_same_server(odd_pages: str) -> None:
    assert parse(fetch(f"http://me:a%3Ab@{odd_pages}/redirected"), "x")["login"] == 1


def test_a_redirection_to_another_server_that_asks_for_a_login_is_said(odd_pages: str) -> None:
    port = odd_pages.partition(":")[2]
    said = f"answers 401; it redirects to http://localhost:{port}/login, .*; name that address with its login"
    with pytest.raises(NoPage, match=said) as refused:
        fetch(f"http://me:a%3Ab@{odd_pages}/elsewhere-login")
    assert "a%3Ab" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://[::1/x", "http://host:port/x", "http://me:secret@/x", "http://127.0.0.1:1/\u00fc"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(NoPage, match=r"cannot be read|does not answer"):
        fetch(url)


def test_a_page_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.samplers.metrics_text.TIMEOUT_S", 0.05)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                try:
                    self.wfile.write(b"up 1\n")
                except OSError:
                    return
                time.sleep(0.01)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http_thread(Handler) as port, pytest.raises(NoPage, match="had not ended after"):
        fetch(f"http://127.0.0.1:{port}/metrics")


def test_series_that_are_left_out_are_counted_in_the_reason_of_a_column(tmp_path: Path) -> None:
    with sampled.metrics_page() as served:
        served.page = "".join(f"m{number} 1\n" for number in range(250)) + "late NaN\n"
        sampler = make("prometheus", Place(tmp_path, metrics_url=served.url))
        columns = sampler.open()
        assert len(sampler.read()) == len(columns) == 201
        assert columns[-1].missing.startswith("51 of the 251 series of the page are left out")
        sampler.close()


def test_a_series_that_is_nan_at_first_has_a_column(tmp_path: Path) -> None:
    with sampled.metrics_page() as served:
        served.page = "up 1\nhit_rate NaN\n"
        sampler = make("prometheus", Place(tmp_path, metrics_url=served.url))
        assert [column.name for column in sampler.open()] == ["metrics_up", "metrics_hit_rate"]
        assert list(sampler.read()) == [1.0, None]
        sampler.close()
