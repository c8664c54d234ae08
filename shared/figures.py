"""Defines the figures of a result: its named numbers, each with everything that is needed to judge it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from shared.distributions import Distribution, Frozen, Interval
from shared.facts import Count, Facts

Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class FigureKind:
    """Describes a figure that results of one kind of work have: its unit, which direction is better, and what it means.

    `better` is `neither` for a figure that describes the run and does not judge it, such as the number of inputs.
    """

    unit: str
    better: Better
    meaning: str


class Figure(Frozen):
    """Holds one number of a result.

    `repeats` holds one value for each fresh process, in order of time. Tests and gates compare these values, because the process is the
    unit of replication. It is empty for a figure that exists only once in a job, such as a quality score.
    """

    name: str = Field(max_length=100)
    unit: str = Field(max_length=40)
    better: Better
    value: float | None = Field(default=None, description="null if it could not be measured; `missing` says why")
    interval: Interval | None = Field(default=None, description="the confidence interval over the repeats")
    n: Count = Field(default=0, description="the number of samples that the value was computed from")
    missing: str = Field(default="", max_length=2_000, description="why the value is null")
    repeats: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, kind: FigureKind, value: float | None = None, **more: object) -> Figure:
        """Return a figure whose unit and direction come from its kind."""
        return cls.model_validate({"name": name, "unit": kind.unit, "better": kind.better, "value": value, **more})


class Outcome(Frozen):
    """Holds what was measured in one job, whatever its kind of work.

    Attributes:
        headline: the name of the figure that stands for the job in a list.
        figures: all figures, each name once.
        distributions: summaries of the raw samples, in milliseconds, by the name of the series.
        detail: facts that belong to this kind of work alone, in the structure that its kind defines.
    """

    headline: str = Field(max_length=100)
    figures: tuple[Figure, ...] = ()
    distributions: dict[str, Distribution] = Field(default_factory=dict)
    detail: Facts = Field(default_factory=dict)

    @property
    def partial(self) -> bool:
        """Return whether the work ended before everything was measured that was asked for: something died, failed or was cancelled."""
        return self.detail.get("partial") is True

    @model_validator(mode="after")
    def _each_name_once(self) -> Outcome:
        names = Counter(figure.name for figure in self.figures)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"the figure {', '.join(twice)} is listed more than once; each name stands for one number of a result")
        return self

    def with_figures(self, *more: Figure) -> Outcome:
        """Return this outcome with more figures.

        Raises:
            ValueError: One of them has a name that is taken.
        """
        return Outcome(headline=self.headline, figures=(*self.figures, *more), distributions=self.distributions, detail=self.detail)

    def figure(self, name: str) -> Figure | None:
        return next((figure for figure in self.figures if figure.name == name), None)
