"""Lists the figures of the kind `load` that every service has."""

from __future__ import annotations

from collections.abc import Mapping

from shared.figures import FigureKind

FIGURES: Mapping[str, FigureKind] = {
    "requests_per_s": FigureKind("1/s", "higher", "requests that succeeded in the measured window, per second of it"),
    "success_rate": FigureKind("%", "higher", "the share of the requests that succeeded"),
    "error_count": FigureKind("", "lower", "how many requests failed, timeouts included"),
    "latency_ms_avg": FigureKind("ms", "lower", "the mean time from sending a request to the last byte of its answer"),
    "latency_ms_p50": FigureKind("ms", "lower", "the median time from sending a request to the last byte of its answer"),
    "latency_ms_p90": FigureKind("ms", "lower", "the 90th percentile of that time"),
    "latency_ms_p95": FigureKind("ms", "lower", "the 95th percentile of that time"),
    "latency_ms_p99": FigureKind("ms", "lower", "the 99th percentile of that time"),
    "latency_scheduled_ms_p50": FigureKind(
        "ms", "lower", "the median time from the scheduled start of a request to the last byte of its answer; null for a closed loop"
    ),
    "latency_scheduled_ms_p99": FigureKind("ms", "lower", "the 99th percentile of that time"),
    "ttfb_ms_p50": FigureKind("ms", "lower", "the median time from sending a request to the first byte of its answer"),
    "ttfb_ms_p99": FigureKind("ms", "lower", "the 99th percentile of that time"),
    "dispatch_delay_ms_p99": FigureKind(
        "ms", "neither", "how late the client sent: the 99th percentile of sent minus scheduled; null for a closed loop"
    ),
    "rate_asked": FigureKind("1/s", "neither", "requests per second that the schedule asked for; null for a closed loop"),
    "rate_achieved": FigureKind("1/s", "neither", "requests per second that were sent"),
    "client_ceiling_per_s": FigureKind(
        "1/s", "neither", "requests per second that these clients reach on this device against a server that does nothing"
    ),
    "client_bound": FigureKind("", "neither", "1 if the client and not the service may have been the limit, else 0"),
    "bytes_per_s": FigureKind("B/s", "higher", "bytes per second that were sent and received"),
    "concurrency": FigureKind("", "neither", "requests that were to be in flight at the same time, of all clients together"),
}
