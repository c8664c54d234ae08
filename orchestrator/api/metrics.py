"""Serves Prometheus metrics. Requests are counted as they are served; everything else is read at each scrape."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from orchestrator.api.queues import capability_depths
from orchestrator.domain.findings import COUNTERS
from orchestrator.operations.context import Context
from orchestrator.store import campaigns
from shared.errors import Unavailable
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)
router = APIRouter(tags=["metrics"])

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


COUNTED = {"sweeps": "sweeps", **COUNTERS}


class Metrics:
    """Holds the metrics of one application. Each has its own registry, so two in one process do not mix their counts."""

    def __init__(self, ctx: Context) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("fleetmark_requests", "HTTP requests answered.", labels, registry=self.registry)
        self._seconds = Histogram("fleetmark_request_seconds", "Time to answer.", ("method", "route"), registry=self.registry)
        self.registry.register(System(ctx))

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)


class System(Collector):
    """Reads queues, workers, jobs and sweeps at each scrape. If Redis or the database is down, its metrics are left out."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def describe(self) -> list[Metric]:
        return []  # registering the collector must not read anything

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("fleetmark_up", "1 if this part answers.", labels=["part"])
        for part, read in (("redis", self._redis), ("database", self._database)):
            try:
                found = read()
            except Unavailable as error:
                log.warning("metrics without %s: %s", part, error.detail)
                up.add_metric([part], 0)
            else:
                up.add_metric([part], 1)
                yield from found
        yield up

    def _redis(self) -> list[Metric]:
        states: Tally[str] = Tally({status.value: 0 for status in WorkerStatus})
        workers = self._ctx.registry.sights(departed=True)
        states.update(worker.status.value for worker in workers)
        seen = self._ctx.registry.monitor.counters()
        last = seen.pop("last_sweep", None)
        families: list[Metric] = [
            _gauge("fleetmark_workers", "Workers by state.", "state", states),
            GaugeMetricFamily(
                "fleetmark_workers_quarantined",
                "Flapping devices that get no work at present.",
                value=sum(worker.quarantined for worker in workers),
            ),
            _gauge("fleetmark_queue_depth", "Messages that wait in Redis, by queue.", "queue", capability_depths(self._ctx)),
            GaugeMetricFamily(
                "fleetmark_dead_letters",
                "Messages that could not be read, and reports that were refused.",
                value=self._ctx.registry.letters.count(),
            ),
        ]
        for name, said in COUNTED.items():
            families.append(CounterMetricFamily(f"fleetmark_watch_{name}", f"By the watch: {said}.", value=seen.get(name, 0)))
        if last is not None:
            families.append(
                GaugeMetricFamily(
                    "fleetmark_watch_last_sweep_timestamp_seconds",
                    "When the last sweep of the watch ended, in seconds since 1970.",
                    value=last,
                )
            )
        return families

    def _database(self) -> list[Metric]:
        with self._ctx.store.read() as session:
            by_status, jobs = campaigns.totals(session)
        return [
            _gauge("fleetmark_campaigns", "Campaigns by state.", "state", by_status),
            _gauge("fleetmark_jobs", "Jobs by state.", "state", jobs),
        ]


def _gauge(name: str, said: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, said, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


@router.get("/metrics", response_class=Response, responses=_TEXT)
def get_metrics(request: Request) -> Response:
    """Return the metrics as Prometheus text. `fleetmark_up` says which parts answer."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
