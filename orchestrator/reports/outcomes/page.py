"""Makes the report of a campaign whose results are outcomes: the best of each work by the headline, then every figure of every job."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.outcomes.kept import KeptFigures
from orchestrator.reports.outcomes.measured import Measured, measured
from orchestrator.reports.outcomes.ranking import rank
from orchestrator.reports.page_parts import MAX_LISTED, Picture, head, tail
from orchestrator.reports.page_texts import energy_text, figure_text, interval_text, noisy_text, whole_page
from shared.figures import Figure
from shared.ids import number_of
from shared.markdown import cell

REPORT_FORMAT = 2  # the numbers are those of the reports of inferences
PLOT = "plots/headlines.png"
MAX_VERDICTS = 20
_METHOD = (
    "A **repeat** is a fresh process that measures. Each figure is computed from the raw data of all repeats.",
    "The **95 % interval** is computed over the values of the repeats, because fresh processes of the same code differ by more than the "
    "measurements within one process. A figure that exists only once in a job has no interval.",
    "Only jobs that **asked for the same** of the same inputs are ranked against each other.",
)


class OutcomePage:
    """Implements `sheets.base.Page` for outcomes. `method` says how the figures were found, in sentences for people."""

    method: tuple[str, ...] = _METHOD

    def __init__(self, kind: str, headline: str, labels: Mapping[str, str], varied: Sequence[str]) -> None:
        self._kind = kind
        self._headline = headline
        self._labels = labels
        self._varied = varied
        self._kept = KeptFigures(MAX_LISTED)
        self._works: dict[Hashable, Hashable] = {}
        self.jobs: list[Measured] = []  # without their figures, which `_kept` has of those that are listed

    def add(self, job: JobRecord) -> None:
        one = measured(job, self._labels, self._varied)
        self.take(one)
        # Many jobs have the same work, and its text may be long, so equal ones are stored once.
        self.jobs.append(replace(one, figures=(), work=self._works.setdefault(one.work, one.work)))

    def take(self, one: Measured) -> None:
        """Take from the figures of a job what the page needs. They are dropped afterwards."""
        self._kept.add(one)

    def pictures(self, folder: Path, title: str) -> Iterator[Picture]:
        del folder
        from orchestrator.reports.outcomes.plots import headlines_png  # matplotlib costs a second of CPU and 60 MB, so it is imported late

        yield Picture(PLOT, "The headline of each job with its 95 % interval", headlines_png(rank(self.jobs), title))

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        rankings = rank(self.jobs)
        return {
            **head(bundle, self.jobs, REPORT_FORMAT),
            "kind": self._kind,
            "headline": next((one.headline.name for one in self.jobs if one.headline), self._headline or None),
            "answers": [
                {
                    "question": ranking.work,
                    "verdict": ranking.verdict,
                    "measured": len(ranking.jobs),
                    "ranking": [_entry(one, figures) for one in ranking.jobs if (figures := self._kept.of(one.job_id)) is not None],
                }
                for ranking in rankings[:MAX_LISTED]
            ],
            "answers_total": len(rankings),
            "measured_total": sum(len(ranking.jobs) for ranking in rankings),
            "not_measured": self._kept.missing(),
            "plot": PLOT,
            "pictures": [{"file": name, "shows": shows} for name, shows in pictures],
            "caveats": _caveats(self.jobs),
            "method": {"said": list(self.method), "interval_methods": sorted({method for one in self.jobs for method in one.methods})},
            **tail(bundle, self.jobs),
        }

    def markdown(self, content: dict[str, Any]) -> str:
        parts = (_answer_text(content), _missing_text(content), _caveats_text(content), _method_text(content))
        return whole_page(content, *parts, what="work")


def _entry(one: Measured, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "where": one.where,
        "job_id": one.job_id,
        "parameters": one.parameters,
        "noise": one.noise,
        "figures": {figure.name: _figure(figure) for figure in figures},
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "interval": [figure.interval.low, figure.interval.high] if figure.interval else None,
        "unit": figure.unit,
        "better": figure.better,
        "missing": figure.missing or None,
    }


def _caveats(jobs: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return each warning of the workers once, with the jobs that have it."""
    found: dict[str, list[str]] = {}
    for one in jobs:
        for said in one.warnings:
            found.setdefault(said, []).append(one.job_id)
    return [{"said": said, "jobs": ids[:MAX_LISTED], "total": len(ids)} for said, ids in found.items()]


def _answer_text(content: dict[str, Any]) -> str:
    if not content["answers"]:
        return "## The answer\n\nNo job was measured; see *What failed*."
    verdicts = [f"- **{cell(one['question'])}**: {cell(one['verdict'], 1_000)}." for one in content["answers"][:MAX_VERDICTS]]
    if content["answers_total"] > MAX_VERDICTS:
        verdicts.append(f"- {content['answers_total'] - MAX_VERDICTS} more below.")
    parts = ["## The answer", "\n".join(verdicts), *noisy_text(content), *energy_text(content)]
    parts += [f"![{cell(one['shows'])}]({one['file']})" for one in content["pictures"]]
    left = MAX_LISTED
    for answer in content["answers"]:
        if left <= 0:
            parts.append("More jobs are in `results.csv`.")
            break
        parts.append(f"**{cell(answer['question'])}**, the best first:\n\n{_table(answer['ranking'][:left])}")
        left -= len(answer["ranking"])
    return "\n\n".join(parts)


def _table(ranking: list[dict[str, Any]]) -> str:
    """Return one row for each figure of each job, so that kinds of work with many figures fit on a page."""
    lines = ["| job | device · runtime | figure | value | 95 % interval |", "| --- | --- | --- | ---: | --- |"]
    for one in ranking:
        number = number_of(one["job_id"])
        for name, figure in one["figures"].items():
            if figure["value"] is None:
                continue
            value = f"{figure_text(figure['value'])} {cell(figure['unit'])}"
            lines.append(f"| {number} | {cell(one['where'])} | {cell(name)} | {value} | {interval_text(figure['interval'])} |")
    return "\n".join(lines)


def _missing_text(content: dict[str, Any]) -> str:
    """Return which figures are missing and why. Each reason is said once, with its figures and the number of its jobs."""
    lines = [
        f"- {', '.join(map(cell, one['figures']))}: {cell(one['said'], 500)} (in {one['jobs']} of {content['measured_total']} jobs)"
        for one in content["not_measured"]
    ]
    return "## What was not measured\n\n" + "\n".join(lines) if lines else ""


def _caveats_text(content: dict[str, Any]) -> str:
    lines = [f"- {cell(one['said'], 500)} (in {one['total']} of {content['jobs']} jobs)" for one in content["caveats"]]
    return "## What to keep in mind\n\n" + "\n".join(lines) if lines else ""


def _method_text(content: dict[str, Any]) -> str:
    said = [f"- {line}" for line in content["method"]["said"]]
    if content["method"]["interval_methods"]:
        said.append(f"- Methods of the intervals here: {', '.join(map(cell, content['method']['interval_methods']))}.")
    return "## How it was measured\n\n" + "\n".join(said)
