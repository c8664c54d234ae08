"""Counts the cores that this process may use: by its affinity, its control groups' quota, and what the machine has."""

from __future__ import annotations

import math
import os

import psutil

from worker.hardware.load import allowed_cpus
from worker.hardware.quota import cores_allowed, read_quotas


def usable_cores() -> int:
    """Return how many threads of this process can run at once. A quota that ends within a core counts as a whole core."""
    pid = os.getpid()
    cpus = allowed_cpus(pid)
    count = len(cpus) if cpus else psutil.cpu_count() or 1
    quota = cores_allowed(read_quotas(pid))
    return count if quota is None else max(1, min(count, math.ceil(quota)))
