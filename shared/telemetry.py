"""Defines the telemetry of a job: what was sampled beside the measurement, and the figures that are computed from it.

The worker sends the samples as `telemetry.npz` (format `TELEMETRY_FORMAT`), and the figures as `Summary.beside`. Orchestrators of earlier
versions ignore both. Workers of earlier versions send neither.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from shared.columns import Column
from shared.facts import Count, Facts
from shared.figures import Figure, FigureKind
from shared.measurements import Frozen

TELEMETRY_FORMAT = 1
# 1: arrays `format`; `header`: JSON of a `Header` in UTF-8, as bytes; `t`: seconds since the first sample, on the monotonic clock;
#    `gap`: whether samples before this one are late or missing; `values`: one row for each column of the header, NaN for null.
BESIDE_FORMAT = 1
# 1: the first format.

GPU_PERCENT = "gpu_percent"
GPU_TEMPERATURE = "gpu_temperature_max_c"
GPU_MEMORY = "peak_gpu_memory_mb"
POWER = "power_w"
ENERGY = "energy_j_per_inference"
ENERGY_ABOVE_IDLE = "energy_above_idle_j_per_inference"
FIGURES = {
    GPU_PERCENT: FigureKind("percent", "neither", "use of the GPU during the timed inferences, on average, as the driver reports it"),
    GPU_TEMPERATURE: FigureKind("°C", "lower", "highest temperature of the GPU during the timed inferences"),
    GPU_MEMORY: FigureKind("MB", "lower", "highest memory in use on the whole GPU, of the samples; a shorter peak is not seen"),
    POWER: FigureKind("W", "lower", "average power during the timed inferences"),
    ENERGY: FigureKind("J", "lower", "energy for one inference, with what the idle device takes"),
    ENERGY_ABOVE_IDLE: FigureKind("J", "lower", "energy for one inference, without what the idle device takes"),
}


class PhaseTime(Frozen):
    """Says when a phase of a measured process began, in seconds since the first sample. It ended when the next one began."""

    at: float
    where: str = Field(max_length=40, description="`repeat` or `load`; empty after the last process")
    index: Count
    phase: str = Field(max_length=256)


class Header(Frozen):
    """Describes the samples of one attempt.

    Attributes:
        started_at: the wall-clock time of the first sample, in seconds since 1970. Nothing is computed from it.
        cpu_s: what sampling itself cost, in CPU seconds; null if the sampling process died.
        ended: why the samples end before the measurement does; empty if they do not.
    """

    columns: tuple[Column, ...] = ()
    phases: tuple[PhaseTime, ...] = ()
    period_s: float = 0.1
    started_at: float = 0.0
    cpu_s: float | None = None
    ended: str = Field(default="", max_length=2_000)


class Energy(Frozen):
    """Says how the energy of a job was found, or why it was not.

    Attributes:
        of: what the energy is of, such as `cpu: rapl_package_0_j`.
        measured_s: the part of the timed inferences that samples cover.
        steps: how often the counter stepped at least.
        checked: integrated power divided by the counter's difference; null if nothing else measures this power.
    """

    source: Literal["", "counter", "integrated", "estimated"] = ""
    of: str = Field(default="", max_length=2_000)
    measured_s: float = 0.0
    steps: Count = 0
    checked: float | None = None
    idle_w: float | None = None
    missing: str = Field(default="", max_length=4_000)


class Beside(Frozen):
    """Holds what was measured beside one job. It is the content of `Summary.beside`."""

    format: Literal[1] = 1
    figures: tuple[Figure, ...] = ()
    energy: Energy = Field(default_factory=Energy)
    devices: dict[str, str] = Field(default_factory=dict, description="the UUID of each GPU, by the beginning of its columns' names")
    samples: Count = 0
    gaps: Count = 0
    cpu_s: float | None = Field(default=None, description="CPU seconds that sampling took")
    ended: str = Field(default="", max_length=2_000)

    def figure(self, name: str) -> Figure | None:
        return next((figure for figure in self.figures if figure.name == name), None)

    def value(self, name: str) -> float | None:
        figure = self.figure(name)
        return figure.value if figure is not None else None

    def missing(self) -> dict[str, str]:
        """Return why each figure without a value has none."""
        return {figure.name: figure.missing for figure in self.figures if figure.value is None}


NOT_SENT = "the worker sampled nothing beside this measurement: its version is too old, or telemetry is turned off there"


def read_beside(stored: Facts) -> Beside | None:
    """Return what a worker sent as `Summary.beside`. None if it sent nothing, or something that this version cannot read."""
    if not stored:
        return None
    try:
        return Beside.model_validate(stored)
    except ValidationError:  # a later worker: its result counts, without these figures
        return None


def why_missing(stored: Facts) -> dict[str, str]:
    """Return why each figure of `FIGURES` has no value, for the names that have none."""
    beside = read_beside(stored)
    if beside is None:
        why = "this version cannot read what the worker sampled" if stored else NOT_SENT
        return dict.fromkeys(FIGURES, why)
    return {name: NOT_SENT for name in FIGURES if beside.figure(name) is None} | beside.missing()
