"""Defines how a sample of measured values is summarised, and the confidence interval of a value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from shared.facts import Count


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Interval(Frozen):
    """Holds a confidence interval, the method that computed it, and its actual confidence level."""

    low: float
    high: float
    level: float = Field(description="coverage the method guarantees or assumes, e.g. 0.95")
    method: str
    n: Count = Field(description="values it was computed from")


class Distribution(Frozen):
    """Summarises one kind of timing, in milliseconds. A figure is null if the sample is too small for it."""

    n: Count
    median: float
    mean: float
    stddev: float | None = Field(description="sample standard deviation (n - 1); null for one value")
    min: float
    max: float
    first: float
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p97: float | None = None
    p99: float | None = None
    p999: float | None = None
    missing: dict[str, str] = Field(default_factory=dict, description="figure -> why it is null")
    outliers: Count = Field(default=0, description="beyond 1.5 interquartile ranges (Tukey); counted, never dropped")
    median_ci: Interval | None = Field(default=None, description="over per-repeat medians")
    median_ci_within: Interval | None = Field(default=None, description="within the pooled sample; understates the truth")
