"""Defines the types of measured data: the raw samples of each repeat, and the summaries computed from them.

The raw samples (`RawRepeat`, stored in `samples/<job_id>.npz`) are the primary data. `shared.stats` can compute every summary from them
again. Stored integer times are in nanoseconds. Times that people read are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from shared.distributions import Distribution, Frozen
from shared.facts import Count, Facts
from shared.figures import Figure

SAMPLES_FORMAT = 2
READABLE_SAMPLES = (1, 2)
# 1: keys `format`, `repeat_<i>_{load,warmup,inference}_ns` (int64, one dimension each), `extra_load_ns`.
# 2: `repeat_<i>_<series>_<unit>` for any series, such as `repeat_0_tokens_count`. `extra_<series>_<unit>` holds the values of the further
#    processes that only made the work ready, joined in order of time. An inference has the same keys as in format 1.


@dataclass(frozen=True)
class RawRepeat:
    """Holds the raw samples of one fresh process: its load time, its warm-ups and its timed inferences, in order of time."""

    index: int
    load_ns: int
    warmup_ns: Sequence[int]  # an `array("q")` for large samples; a list of a million integers takes too much memory
    inference_ns: Sequence[int]
    inference_wall_ns: int = 0  # from the start of the first inference to the end of the last
    load_peak_mb: float | None = None  # the peak of the whole process, in MB of 2^20 bytes
    inference_peak_mb: float | None = None
    baseline_mb: float | None = None  # the resident memory before loading began
    memory_method: str = ""
    cpu_percent: float | None = None  # the use during the timed inferences, in percent of one core; 200 means two busy cores
    runtime: dict[str, Any] = field(default_factory=dict)  # facts that the runtime reports about itself
    started_at: float | None = None  # when its process was started, by the device's clock, in seconds since 1970


class RepeatFacts(Frozen):
    """Summarises one repeat for reports."""

    index: Count
    load_ms: float
    median_ms: float
    min_ms: float
    max_ms: float
    warmups: Count
    inferences: Count
    steadiness: Literal["steady", "not steady", "unknown"]
    load_peak_mb: float | None = None
    inference_peak_mb: float | None = None
    baseline_mb: float | None = None
    cpu_percent: float | None = None
    throughput_per_s: float | None = Field(
        default=None, description="inferences a second over the timed phase; null where the clock saw no time pass, and in old results"
    )
    started_at: float | None = Field(
        default=None, description="when its process was started, by the device's clock, in seconds since 1970; null from an older worker"
    )


class Noise(Frozen):
    """Grades how much other activity disturbed the machine during the measurement, with the reasons for the grade."""

    grade: Literal["quiet", "fair", "noisy"]
    reasons: list[str] = Field(default_factory=list)
    facts: Facts = Field(default_factory=dict)


class Summary(Frozen):
    """Holds everything that is computed from the raw samples of one job."""

    load: Distribution
    inference: Distribution
    repeats: list[RepeatFacts]
    load_peak_mb: float | None
    inference_peak_mb: float | None
    memory_method: str
    throughput_per_s: float | None = Field(
        description="inferences a second over the timed phase, all repeats; null where the clock is too coarse to see any time pass"
    )
    cpu_percent: float | None
    steadiness: Literal["steady", "not steady", "unknown"]
    stopped_because: str = Field(default="", description="with a stop rule: precision reached, budget spent or repeats spent")
    precision_asked: float | None = Field(default=None, description="the stop rule's half-width, as a fraction of the median")
    precision_reached: float | None = Field(
        default=None, description="half-width of `inference.median_ci` as a fraction of its centre; null without a stop rule or an interval"
    )
    figures: list[Figure] = Field(
        default_factory=list, description="what samplers watched beside the measurement, such as energy; older orchestrators ignore it"
    )
