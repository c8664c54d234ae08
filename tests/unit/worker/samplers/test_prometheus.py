from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import sampled
from worker.samplers.base import Place, Vanished
from worker.samplers.prometheus import MAX_BYTES, NoPage, fetch, parse
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
    assert parse(page, "http://x") == {"a_total": 5.0, "d": 2.0}


@pytest.mark.parametrize(
    "page",
    ["<html><body>hello</body></html>", '{"status": "healthy"}', "up one", "up", "9up 1", 'a{b="c" 1', "a b c d e", "\x00\x01\x02"],
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
