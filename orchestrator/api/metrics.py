"""Serves Prometheus metrics. Requests are counted as they are served; everything else is read at each scrape."""

from __future__ import annotations

import logging
import platform
import shutil
from collections import Counter as Tally
from collections.abc import Iterator
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from orchestrator.api.queues import capability_depths
from orchestrator.domain.buckets import BOUNDS, DURATION, WAIT
from orchestrator.domain.findings import COUNTERS
from orchestrator.operations.context import Context
from orchestrator.registry.histograms import Histogram as JobHistogram
from orchestrator.registry.records import Sight
from orchestrator.store import campaigns
from shared.capabilities import RESULTS_QUEUE
from shared.errors import Unavailable
from shared.workers import WorkerStatus

log = logging.getLogger(__name__)
router = APIRouter(tags=["metrics"])

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


VERSION = version("fleetmark")
COUNTED = {"sweeps": "sweeps", **COUNTERS}


class Metrics:
    """Holds the metrics of one application. Each has its own registry, so two in one process do not mix their counts."""

    def __init__(self, ctx: Context) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("fleetmark_requests", "HTTP requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "fleetmark_request_seconds", "Time to answer an HTTP request, by route.", ("method", "route"), registry=self.registry
        )
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
        yield InfoMetricFamily(
            "fleetmark_build", "What is running.", {"version": VERSION, "python": platform.python_version(), "commit": self._ctx.git_commit}
        )
        yield from self._disks()
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
        depths = capability_depths(self._ctx)
        seen = self._ctx.registry.monitor.counters()
        last = seen.pop("last_sweep", None)
        families: list[Metric] = [
            _gauge("fleetmark_workers", "Workers by state.", "state", states),
            GaugeMetricFamily(
                "fleetmark_workers_quarantined",
                "Flapping devices that get no work at present.",
                value=sum(worker.quarantined for worker in workers),
            ),
            _gauge("fleetmark_queue_depth", "Messages that wait in Redis, by queue.", "queue", depths),
            _gauge("fleetmark_queue_workers", "Living workers that serve a queue.", "queue", self._servers(workers, depths)),
            *self._beats(workers),
            *_of_jobs(self._ctx.registry.histograms.read()),
            GaugeMetricFamily(
                "fleetmark_results_waiting",
                "Reports of workers that are not recorded yet.",
                value=self._ctx.registry.monitor.results().waiting,
            ),
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

    def _servers(self, workers: list[Sight], depths: dict[str, int]) -> dict[str, int]:
        """Return for each queue of a capability how many workers take jobs from it."""
        served: Tally[str] = Tally({queue: 0 for queue in depths if queue != RESULTS_QUEUE})
        for worker in workers:
            if self._ctx.registry.is_heard(worker) and not worker.quarantined:
                served.update(queue for queue in worker.known.capabilities if queue in served)
        return served

    def _beats(self, workers: list[Sight]) -> Iterator[Metric]:
        """Yield the state and the last heartbeat of each worker that has not left."""
        labels = ["worker_id", "device"]
        state = GaugeMetricFamily("fleetmark_worker_state", "1 for the state that a worker is in.", labels=[*labels, "state"])
        beat = GaugeMetricFamily(
            "fleetmark_worker_last_heartbeat_timestamp_seconds", "When a worker was last heard, in seconds since 1970.", labels=labels
        )
        now = self._ctx.clock.now().timestamp()
        for worker in workers:
            if worker.status is not WorkerStatus.GONE:
                who = [worker.known.id, worker.known.device_name]
                state.add_metric([*who, worker.status.value], 1)
                beat.add_metric(who, now - worker.silent_s)
        yield state
        yield beat

    def _disks(self) -> Iterator[Metric]:
        """Yield the size of the disks that this process writes to. Folders that do not exist are left out."""
        free = GaugeMetricFamily("fleetmark_disk_free_bytes", "Free space where a folder is.", labels=["folder"])
        size = GaugeMetricFamily("fleetmark_disk_size_bytes", "Size of the disk where a folder is.", labels=["folder"])
        settings, store = self._ctx.settings, self._ctx.store
        folders = {"outputs": settings.outputs_dir, "models": settings.models_dir}
        if store.is_sqlite and store.url.database:
            folders["database"] = Path(store.url.database).parent
        for name, folder in folders.items():
            try:
                usage = shutil.disk_usage(folder)
            except OSError:
                continue
            free.add_metric([name], usage.free)
            size.add_metric([name], usage.total)
        yield free
        yield size

    def _database(self) -> list[Metric]:
        with self._ctx.store.read() as session:
            by_status, jobs = campaigns.totals(session)
            oldest = campaigns.oldest_pending_at(session)
            unplaceable = campaigns.unplaceable(session)
        age_s = max((self._ctx.clock.now() - oldest).total_seconds(), 0.0) if oldest is not None else 0.0
        return [
            GaugeMetricFamily(
                "fleetmark_oldest_pending_job_age_seconds", "How long the oldest pending job has waited; 0 if none is pending.", value=age_s
            ),
            _gauge(
                "fleetmark_lanes_without_worker",
                "Groups of jobs (of one campaign and compute unit) that no worker can take at present.",
                "compute_unit",
                unplaceable,
            ),
            _gauge("fleetmark_campaigns", "Campaigns by state.", "state", by_status),
            _gauge("fleetmark_jobs", "Jobs by state.", "state", jobs),
        ]


def _of_jobs(found: list[JobHistogram]) -> Iterator[Metric]:
    """Yield the histograms of jobs. They are of the whole system, so every process of the API shows the same numbers."""
    duration = HistogramMetricFamily(
        "fleetmark_job_duration_seconds", "Time from the start to the end of a job on its worker.", labels=["capability", "status"]
    )
    wait = HistogramMetricFamily(
        "fleetmark_job_queue_wait_seconds", "Time from the submission of a job to its first start.", labels=["capability"]
    )
    bounds = [*map(str, BOUNDS), "+Inf"]
    for one in found:
        buckets = list(zip(bounds, accumulate(one.counts), strict=True))
        if one.name == DURATION:
            duration.add_metric([one.capability, one.status], buckets, one.total_s)
        elif one.name == WAIT:
            wait.add_metric([one.capability], buckets, one.total_s)
    yield duration
    yield wait


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
