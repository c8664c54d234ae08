"""Samples the gauges and counters of a service's `/metrics` page (Prometheus text format 0.0.4 and OpenMetrics), once a second.

A thread reads the page, so that a slow service delays no other sampler. A sample takes the page that has arrived since the last one.
Histograms and summaries are left out: their buckets are many, and the client measures latencies itself.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence

from shared.addresses import shown_address
from shared.columns import Column
from worker.samplers.base import Lack, Place, Values, Vanished
from worker.samplers.metrics_text import TIMEOUT_S, NoPage, fetch

PERIOD_S = 1.0
MAX_SERIES = 200
MAX_NAME = 190  # the most characters of a series with its labels; a longer one is left out
LEFT_OUT = "metrics_left_out"  # this column is always null, and its reason says what of the page is left out
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABELS = r'\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}'
# Prometheus 3 writes a name with any other character in quotes, as the first thing within the braces.
_SAMPLE = re.compile(rf"((?:{_NAME})?)\s*({_LABELS})?\s+(\S+)(?:\s+\S+)?(?:\s+#.*)?")
_QUOTED_NAME = re.compile(r'\{\s*"((?:[^"\\]|\\.)*)"\s*[,}]')
_TYPE = re.compile(rf'#\s*TYPE\s+(?:({_NAME})|"((?:[^"\\]|\\.)*)")\s+(\w+)\s*')


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
        self._left_out: list[Column] = []
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
        if len(found) > len(self._series):
            why = (
                f"{len(found) - len(self._series)} of the {len(found)} series of the page are left out: the first {MAX_SERIES} stay, if "
                f"they have at most {MAX_NAME} characters with their labels"
            )
            self._left_out = [Column(name=LEFT_OUT, unit="count", source="prometheus", missing=why)]
        return [
            *(Column(name=f"metrics_{series}", unit="as the page says", source="prometheus") for series in self._series),
            *self._left_out,
        ]

    def read(self) -> Values:
        """Return the values of the page that has arrived since the last call. They are None if none has, or where they are not finite."""
        page, self._page = self._page, None
        values = [None if page is None else page.get(series) for series in self._series]
        return [*(value if value is not None and math.isfinite(value) else None for value in values), *(None for _ in self._left_out)]

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


def parse(text: str, url: str) -> dict[str, float]:
    """Return the gauges, counters and untyped series of a page, by name with labels. Their values may be NaN or infinite.

    Raises:
        NoPage: The text is not in the format of Prometheus, or has no such series.
    """
    kinds: dict[str, str] = {}
    found: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), start=1):  # only this ends a line: others may stand in the value of a label
        if not (line := line.strip()):
            continue
        if line.startswith("#"):
            if match := _TYPE.fullmatch(line):
                kinds[match[1] or match[2]] = match[3]
            continue
        match = _SAMPLE.fullmatch(line)
        value = _number(match[3]) if match else None
        name = _name(match) if match else ""
        if match is None or value is None or not name:
            raise NoPage(
                f"{shown_address(url)} is no page of Prometheus metrics: its line {number} is {line[:60]!r}; "
                "a line of it is `name{labels} number`"
            )
        if not _is_part(name, kinds):
            found[match[1] + (match[2] or "")] = value
    if not found:
        raise NoPage(f"{shown_address(url)} has no gauge and no counter")
    return found


def _name(match: re.Match[str]) -> str:
    """Return the name of a series, which stands before its labels or is the first thing within the braces. Empty if there is none."""
    quoted = _QUOTED_NAME.match(match[2] or "")
    return str(match[1] or (quoted[1] if quoted else ""))


def _is_part(name: str, kinds: Mapping[str, str]) -> bool:
    """Return whether a series is a part of a histogram or a summary."""
    base = re.sub(r"_(bucket|sum|count|created|total)$", "", name)
    return any(kinds.get(one) in ("histogram", "summary", "gaugehistogram") for one in (name, base)) or name.endswith("_created")


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # it reads `+Inf` and `NaN`, too
    except ValueError:
        return None
