"""Makes the page of a campaign of inferences: `report.json`, `report.md` and the pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.inferences.answers import Answer, answers
from orchestrator.reports.inferences.figures import Figure, figure
from orchestrator.reports.inferences.page import PLOT, report
from orchestrator.reports.inferences.page_markdown import report_md
from orchestrator.reports.inferences.ranking import Ranking, rank
from orchestrator.reports.inferences.raw_samples import Series, read_repeats
from orchestrator.reports.inferences.same_work import Work
from orchestrator.reports.page_parts import Picture

MAX_TRADEOFFS = 4  # the trade-off of at most so many questions is drawn
MAX_LOOKED_AT = 12  # the raw samples of at most so many jobs are looked for, to draw some of them
SAMPLES_PLOT = "plots/samples.png"


class InferencePage:
    """Implements `sheets.base.Page` for inferences. Only a few figures of each job stay in memory."""

    def __init__(self, labels: Mapping[str, str], varied: Sequence[str]) -> None:
        self._labels = labels
        self._varied = varied
        self._figures: list[Figure] = []
        self._works: dict[Work, Work] = {}  # many jobs share a few works, so equal works are stored once

    def add(self, job: JobRecord) -> None:
        made = figure(job, self._labels, self._varied)
        work, samples = (self._works.setdefault(one, one) for one in (made.work, made.samples))
        self._figures.append(replace(made, work=work, samples=samples))

    @cached_property
    def _rankings(self) -> list[Ranking]:
        return rank(self._figures)

    @cached_property
    def _answers(self) -> list[Answer]:
        return answers(self._figures)

    def pictures(self, folder: Path, title: str) -> Iterator[Picture]:
        # Importing matplotlib costs a second of CPU and 60 MB, so it is done late.
        from orchestrator.reports.inferences.plot_samples import MAX_JOBS, samples_png
        from orchestrator.reports.inferences.plot_tradeoff import is_drawn, tradeoff_png
        from orchestrator.reports.inferences.plots import medians_png

        for number, answer in enumerate([one for one in self._answers if is_drawn(one)][:MAX_TRADEOFFS], start=1):
            name = "plots/tradeoff.png" if number == 1 else f"plots/tradeoff-{number}.png"
            shows = f"{answer.question}: samples per second against latency, one curve for each device"
            yield Picture(name, shows, tradeoff_png(answer, f"{answer.question}: {title}"))
        yield Picture(PLOT, "Median inference with its 95 % interval, per job", medians_png(self._rankings, title))
        drawn: list[tuple[Figure, str, list[Series]]] = []
        for one, name in _spread_out(self._answers):
            if len(drawn) < MAX_JOBS and (repeats := read_repeats(folder, one.job_id)):
                drawn.append((one, name, repeats))
        if drawn:
            shows = "How the inferences are distributed, and in which order they came"
            yield Picture(SAMPLES_PLOT, shows, samples_png(drawn, title))

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return report(bundle, self._figures, self._rankings, self._answers, pictures)

    def markdown(self, content: dict[str, Any]) -> str:
        return report_md(content)


def _spread_out(answered: list[Answer]) -> list[tuple[Figure, str]]:
    """Return the jobs whose samples are worth a look, with their names: of each question in turn those on the front, then the others."""
    queues = []
    for answer in answered[:MAX_LOOKED_AT]:
        pairs = list(zip(answer.figures, answer.places, strict=True))
        named = [(one, f"{answer.question} · {place}") for one, place in pairs]
        queues.append(sorted(named, key=lambda pair: pair[0].job_id not in answer.front)[:MAX_LOOKED_AT])
    rounds = itertools.zip_longest(*queues)
    return [pair for turn in rounds for pair in turn if pair is not None][:MAX_LOOKED_AT]
