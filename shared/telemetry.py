"""Defines the telemetry of a job: what was sampled beside the measurement, and the figures that are computed from it.

The worker sends the samples as `telemetry.npz` (format `TELEMETRY_FORMAT`), the figures among those of the result, and in `runtime` how it
found them (`Beside`). Orchestrators of earlier versions ignore all of that. Workers of earlier versions send none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from shared.columns import Column
from shared.distributions import Frozen
from shared.facts import Count
from shared.figures import Figure, FigureKind

TELEMETRY_FORMAT = 1
# 1: arrays `format`; `header`: JSON of a `Header` in UTF-8, as bytes; `t`: seconds since the first sample, on the monotonic clock;
#    `gap`: whether samples before this one are late or missing; `values`: one row for each column of the header, NaN for null.
BESIDE_FORMAT = 1
# 1: the first format.

RUNTIME_KEY = "telemetry"  # the key among the facts about the runtime where a result says how it was sampled
SOURCE_KEY = "energy_source"  # the fact beside it: `counter`, `integrated` or `estimated`; missing if there is no energy

GPU_PERCENT = "gpu_percent"
GPU_TEMPERATURE = "gpu_temperature_max_c"
GPU_MEMORY = "peak_gpu_memory_mb"
POWER = "power_w"
ENERGY = "energy_j_per_inference"
ENERGY_ABOVE_IDLE = "energy_above_idle_j_per_inference"
ENERGY_PER_TOKEN = "energy_j_per_token"  # noqa: S105 - no secret: only work that writes tokens has it
FIGURES = {
    GPU_PERCENT: FigureKind("percent", "neither", "use of the GPU during the timed inferences, on average, as the driver reports it"),
    GPU_TEMPERATURE: FigureKind("°C", "lower", "highest temperature of the GPU during the timed inferences"),
    GPU_MEMORY: FigureKind("MB", "lower", "highest memory in use on the whole GPU, of the samples; a shorter peak is not seen"),
    POWER: FigureKind("W", "lower", "average power during the timed inferences"),
    ENERGY: FigureKind("J", "lower", "energy for one inference, with what the idle device takes"),
    ENERGY_ABOVE_IDLE: FigureKind("J", "lower", "energy for one inference, without what the idle device takes"),
    ENERGY_PER_TOKEN: FigureKind("J", "lower", "energy for one new token of whole calls, with what the idle device takes"),
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
        started_at: the wall-clock time of the first sample, in seconds since 1970. `time_utc` of `telemetry.parquet` is
            computed from it, and nothing else.
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
    """Says what was sampled beside one job. A result has it in `runtime`, under the key `telemetry`."""

    format: Literal[1] = 1
    energy: Energy = Field(default_factory=Energy)
    devices: dict[str, str] = Field(default_factory=dict, description="the UUID of each GPU, by the beginning of its columns' names")
    samples: Count = 0
    gaps: Count = 0
    cpu_s: float | None = Field(default=None, description="CPU seconds that sampling took")
    ended: str = Field(default="", max_length=2_000, description="why the samples end before the measurement does")


NOT_SENT = "the worker sampled nothing beside this measurement: its version is too old, or telemetry is turned off there"


def why_missing(figures: Sequence[Figure]) -> dict[str, str]:
    """Return why each figure of `FIGURES` has no value, for the names that have none.

    Args:
        figures: the figures of a result.
    """
    known = {figure.name: figure for figure in figures}
    wanted = [name for name in FIGURES if name in known or name != ENERGY_PER_TOKEN]
    missing = {name: known[name].missing if name in known else NOT_SENT for name in wanted}
    return {name: why for name, why in missing.items() if name not in known or known[name].value is None}
