"""Computes the roofline of a device: how many operations per second a program can reach, by its operations for each byte of memory.

S. Williams, A. Waterman, D. Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures", 2009. Below the
ridge, memory limits a program: intensity × bandwidth. Above it, the units limit it: the FLOP/s of matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.reports.drawable import drawable
from orchestrator.reports.outcomes.measured import Measured
from shared.kinds.hardware_figures import PRECISIONS


@dataclass(frozen=True)
class Roofline:
    """Holds the two limits of one device in one precision, as one job measured them."""

    job_id: str
    where: str
    precision: str
    gb_per_s: float
    tflops: float

    @property
    def ridge(self) -> float:
        """Return the operations for each byte at which both limits are equal."""
        return 1e3 * self.tflops / self.gb_per_s

    def tflops_at(self, intensity: float) -> float:
        return min(self.tflops, self.gb_per_s * intensity / 1e3)


def rooflines(jobs: Sequence[Measured]) -> list[Roofline]:
    """Return one roofline for each job and precision. A job that measured only bandwidth or only FLOP/s has none.

    A worker with a defect may send figures that are not above 0, or too large to be drawn. They have no roofline.
    """
    found = []
    for job in jobs:
        values = {figure.name: figure.value for figure in job.figures}
        bandwidth = values.get("peak_gb_per_s")
        for precision in PRECISIONS:
            tflops = values.get(f"{precision}_tflops")
            if bandwidth and tflops and min(bandwidth, tflops) > 0:
                line = Roofline(job.job_id, job.where, precision, bandwidth, tflops)
                found += [line] if drawable(bandwidth, tflops, line.ridge) else []
    return found
