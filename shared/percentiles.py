"""Says from which sample size each percentile is reported."""

from __future__ import annotations

# This gives for each percentile its rank, and the smallest sample for which it is reported. The sizes are the query counts for 90 %
# confidence in the MLPerf Inference rules.
PERCENTILE_FLOORS: dict[str, tuple[float, int]] = {
    "p75": (75.0, 24),
    "p90": (90.0, 64),
    "p95": (95.0, 130),
    "p97": (97.0, 219),
    "p99": (99.0, 662),
    "p999": (99.9, 6_636),
}
