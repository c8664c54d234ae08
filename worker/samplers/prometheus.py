"""Samples the gauges and counters of a service's `/metrics` page (Prometheus text format 0.0.4 and OpenMetrics), once a second.

A thread reads the page, so that a slow service delays no other sampler. A sample takes the page that has arrived since the last one.
Histograms and summaries are left out: their buckets are many, and the client measures latencies itself.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence

from shared.columns import Column
from worker.samplers.base import Lack, Place, Values, Vanished

TIMEOUT_S = 2.0
PERIOD_S = 1.0
MAX_BYTES = 4 * 2**20
MAX_SERIES = 200
MAX_NAME = 190  # the most characters of a series with its labels; a longer one is left out
ACCEPT = "text/plain; version=0.0.4, application/openmetrics-text;q=0.5"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABELS = r'\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}'
_SAMPLE = re.compile(rf"({_NAME})({_LABELS})?\s+(\S+)(?:\s+\S+)?(?:\s+#.*)?")
_TYPE = re.compile(rf"#\s*TYPE\s+({_NAME})\s+(\w+)\s*")


class NoPage(Exception):
    """Raised when a page cannot be read, or is no text in the format of Prometheus. The message says which page, and why."""


def lack(place: Place) -> Lack | None:
    if not place.metrics_url:
        return Lack("no page with a service's own metrics is named")
    try:
        parse(fetch(place.metrics_url), place.metrics_url)
    except NoPage as error:
        return Lack(str(error))
    return None


class PrometheusPage:
    """Samples the series that the page has when it is opened. A series that is gone later is null."""

    def __init__(self, place: Place) -> None:
        self._url = place.metrics_url
        self._series: list[str] = []
        self._page: Mapping[str, float] | None = None
        self._why = ""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> Sequence[Column]:
        if not self._url:
            raise Vanished("no page with a service's own metrics is named")
        try:
            found = parse(fetch(self._url), self._url)
        except NoPage as error:
            raise Vanished(str(error)) from error
        self._series = [series for series in found if len(series) <= MAX_NAME][:MAX_SERIES]
        self._page = found
        self._thread = threading.Thread(target=self._watch, name="metrics page", daemon=True)
        self._thread.start()
        return [Column(name=f"metrics_{series}", unit="as the page says", source="prometheus") for series in self._series]

    def read(self) -> Values:
        """Return the values of the page that has arrived since the last call. They are None if none has."""
        page, self._page = self._page, None
        if page is None:
            return [None] * len(self._series)
        return [page.get(series) for series in self._series]

    def missing(self) -> Mapping[str, str]:
        return {f"metrics_{series}": self._why for series in self._series} if self._why else {}

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT_S)

    def _watch(self) -> None:
        while not self._closed.wait(PERIOD_S):
            try:
                self._page, self._why = parse(fetch(self._url), self._url), ""
            except NoPage as error:
                self._why = str(error)


def fetch(url: str) -> str:
    """Return the text of a page.

    Raises:
        NoPage: It does not answer, or not with a page.
    """
    import urllib.error  # imported where there is a page: this takes 40 ms of CPU time, beside every measurement
    import urllib.request
    from http.client import HTTPException

    if not url.startswith(("http://", "https://")):
        raise NoPage(f"{url} is no address of a page: it must start with http:// or https://")
    request = urllib.request.Request(url, headers={"Accept": ACCEPT})  # noqa: S310 - checked above
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a service that is measured is not behind a proxy
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            content = answer.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise NoPage(f"{url} answers {error.code}; name the page with the metrics, which often ends in /metrics") from error
    except (OSError, HTTPException, ValueError) as error:
        raise NoPage(f"{url} does not answer: {getattr(error, 'reason', error)}") from error
    if len(content) > MAX_BYTES:
        raise NoPage(f"{url} is larger than {MAX_BYTES // 2**20} MB; name a page with fewer series")
    return str(content, "utf-8", "replace")


def parse(text: str, url: str) -> dict[str, float]:
    """Return the gauges, counters and untyped series of a page, by name with labels.

    Raises:
        NoPage: The text is not in the format of Prometheus, or has no such series.
    """
    kinds: dict[str, str] = {}
    found: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not (line := line.strip()):
            continue
        if line.startswith("#"):
            if match := _TYPE.fullmatch(line):
                kinds[match[1]] = match[2]
            continue
        match = _SAMPLE.fullmatch(line)
        value = _number(match[3]) if match else None
        if match is None or value is None:
            raise NoPage(
                f"{url} is no page of Prometheus metrics: its line {number} is {line[:60]!r}; a line of it is `name{{labels}} number`"
            )
        if not _is_part(match[1], kinds) and math.isfinite(value):
            found[match[1] + (match[2] or "")] = value
    if not found:
        raise NoPage(f"{url} has no gauge and no counter")
    return found


def _is_part(name: str, kinds: Mapping[str, str]) -> bool:
    """Return whether a series is a part of a histogram or a summary."""
    base = re.sub(r"_(bucket|sum|count|created|total)$", "", name)
    return any(kinds.get(one) in ("histogram", "summary", "gaugehistogram") for one in (name, base)) or name.endswith("_created")


def _number(text: str) -> float | None:
    try:
        return float(text)  # it reads `+Inf` and `NaN`, too
    except ValueError:
        return None
