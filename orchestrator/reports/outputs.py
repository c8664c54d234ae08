"""Writes the folder of a campaign under `outputs/` when the campaign ends.

Each file is written under another name and then renamed, so a reader sees the complete old or the complete new file. The names depend
only on the campaign, so writing twice (by two consumers, or after a restart) gives the same files.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.reports.answers import Answer, answers
from orchestrator.reports.bundle import CampaignBundle
from orchestrator.reports.figures import Figure, figure
from orchestrator.reports.page import PLOT, report
from orchestrator.reports.page_markdown import report_md
from orchestrator.reports.ranking import Ranking, rank
from orchestrator.reports.raw_samples import Series, read_repeats
from orchestrator.reports.rows import Row
from orchestrator.reports.run import RunTail, run_head, run_job
from orchestrator.reports.same_work import Work
from orchestrator.reports.summary import SummaryTail, summary_head, summary_job
from orchestrator.reports.tables import stream_csv
from orchestrator.reports.telemetry import Telemetry, read_telemetry, write_telemetry
from orchestrator.whole_files import remove_left_behind, whole_file
from shared.masking import content_without_logins, may_hold_login
from shared.recipes.text import write_yaml

MAX_TRADEOFFS = 4  # questions whose trade-off is drawn
MAX_LOOKED_AT = 12  # jobs whose raw samples are looked for, to draw some of them
SAMPLES_PLOT = "plots/samples.png"
TELEMETRY_PLOT = "plots/telemetry.png"


def csv_name(bundle: CampaignBundle) -> str:
    """Return `<campaign_id>_<YYYYmmdd_HHMMSS>_results.csv`, with the end of the campaign in UTC."""
    return f"{bundle.campaign_id}_{bundle.ended_at.astimezone(UTC):%Y%m%d_%H%M%S}_results.csv"


def write_campaign(outputs_dir: Path, bundle: CampaignBundle) -> list[Path]:
    """Write all reports of a campaign that has ended. Return their paths; the last one is the CSV directly in `outputs_dir`.

    The jobs are read once, and only a few figures of each stay in memory. Logins in models' addresses are masked in all files.

    Raises:
        OSError: the folder cannot be written (for example full or read-only). Earlier files stay complete.
    """
    folder = outputs_dir / bundle.campaign_id
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("recipe.yaml", "run.json", "summary.json", "results.csv", "report.json", "report.md", PLOT)]
    recipe, run, summary, results, report_data, page, plot = paths
    _replace(recipe, recipe_text(content_without_logins(bundle.recipe)).encode())
    figures = _write_jobs(bundle, run, summary, results)
    flat = outputs_dir / csv_name(bundle)  # written before the page, because the plot takes a second
    with results.open("rb") as source, whole_file(flat, parts=folder) as target:
        shutil.copyfileobj(source, target)
    rankings, answered = rank(figures), answers(figures)
    pictures = _draw(folder, rankings, answered, f"{bundle.name} ({bundle.campaign_id})")
    telemetry = write_telemetry(folder, [(one.job_id, one.attempt) for one in figures])
    content = report(bundle, figures, rankings, answered, pictures, telemetry.name if telemetry else None)
    if may_hold_login(json.dumps(content, ensure_ascii=False)):
        content = content_without_logins(content)
    _replace(report_data, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    _replace(page, report_md(content).encode())
    for written in (page, plot):
        remove_left_behind(written)
    extra = [telemetry] if telemetry else []
    return [*paths, *(folder / name for name, _ in pictures if name != PLOT), *extra, flat]


def _draw(folder: Path, rankings: list[Ranking], answered: list[Answer], title: str) -> list[tuple[str, str]]:
    """Draw the pictures of a campaign. Return the path of each in the folder, and what it shows, in the order of the page."""
    # Importing matplotlib costs a second of CPU and 60 MB, so it is done late.
    from orchestrator.reports.plot_samples import MAX_JOBS, samples_png
    from orchestrator.reports.plot_telemetry import MAX_JOBS as MAX_TELEMETRIES
    from orchestrator.reports.plot_telemetry import is_drawn as is_telemetry_drawn
    from orchestrator.reports.plot_telemetry import telemetry_png
    from orchestrator.reports.plot_tradeoff import is_drawn, tradeoff_png
    from orchestrator.reports.plots import medians_png

    pictures: list[tuple[str, str]] = []
    for number, answer in enumerate([one for one in answered if is_drawn(one)][:MAX_TRADEOFFS], start=1):
        name = "plots/tradeoff.png" if number == 1 else f"plots/tradeoff-{number}.png"
        _replace(folder / name, tradeoff_png(answer, f"{answer.question}: {title}"))
        pictures.append((name, f"{answer.question}: samples per second against latency, one curve for each device"))
    _replace(folder / PLOT, medians_png(rankings, title))
    pictures.append((PLOT, "Median inference with its 95 % interval, per job"))
    drawn: list[tuple[Figure, str, list[Series]]] = []
    for one, name in _spread_out(answered):
        if len(drawn) < MAX_JOBS and (repeats := read_repeats(folder, one.job_id)):
            drawn.append((one, name, repeats))
    if drawn:
        _replace(folder / SAMPLES_PLOT, samples_png(drawn, title))
        pictures.append((SAMPLES_PLOT, "How the inferences are distributed, and in which order they came"))
    watched: list[tuple[str, Telemetry]] = []
    for one, name in _spread_out(answered):
        if len(watched) < MAX_TELEMETRIES and (found := read_telemetry(folder, one.job_id)) is not None and is_telemetry_drawn(found):
            watched.append((name, found))
    if watched:
        _replace(folder / TELEMETRY_PLOT, telemetry_png(watched, title))
        pictures.append((TELEMETRY_PLOT, "What was sampled beside the measurement; the timed inferences are shaded"))
    return pictures


def _spread_out(answered: list[Answer]) -> list[tuple[Figure, str]]:
    """Return the jobs whose samples are worth a look, with their names: of each question in turn those on the front, then the others."""
    queues = []
    for answer in answered[:MAX_LOOKED_AT]:
        pairs = list(zip(answer.figures, answer.places, strict=True))
        named = [(one, f"{answer.question} · {place}") for one, place in pairs]
        queues.append(sorted(named, key=lambda pair: pair[0].job_id not in answer.front)[:MAX_LOOKED_AT])
    rounds = itertools.zip_longest(*queues)
    return [pair for turn in rounds for pair in turn if pair is not None][:MAX_LOOKED_AT]


def _write_jobs(bundle: CampaignBundle, run: Path, summary: Path, results: Path) -> list[Figure]:
    """Write three files in one pass over the jobs, and return the figures for the page."""
    figures: list[Figure] = []
    works: dict[Work, Work] = {}  # many jobs share a few works, so equal works are stored once
    labels = bundle.device_labels()
    run_tail, summary_tail = RunTail(bundle.devices), SummaryTail()
    with ExitStack() as stack:
        run_file = JobsFile(stack.enter_context(whole_file(run)), run_head(bundle))
        summary_file = JobsFile(stack.enter_context(whole_file(summary)), summary_head(bundle))

        def rows() -> Iterator[Row]:
            for job in bundle.jobs:
                entry = summary_job(job, labels, bundle.varied)
                run_file.add(run_job(job, labels, bundle.varied))
                summary_file.add(entry)
                run_tail.add(job)
                summary_tail.add(job, entry)
                made = figure(job, labels, bundle.varied)
                work, samples = (works.setdefault(one, one) for one in (made.work, made.samples))
                figures.append(replace(made, work=work, samples=samples))
                if job.row is not None:
                    yield job.row

        csv_file = stack.enter_context(whole_file(results))
        for chunk in stream_csv(rows()):
            csv_file.write(chunk)
        run_file.close(run_tail.content())
        summary_file.close(summary_tail.content())
    return figures


class JobsFile:
    """Writes a JSON object whose `jobs` may not fit in memory: first the head, then job by job, then the rest."""

    def __init__(self, file: BinaryIO, head: dict[str, Any]) -> None:
        self._file = file
        self._separator = "\n"
        self._write(_members(head) + ',\n"jobs": [', start="{\n")

    def add(self, job: dict[str, Any]) -> None:
        self._write(_json(job), start=self._separator)
        self._separator = ",\n"

    def close(self, tail: dict[str, Any]) -> None:
        self._write("\n],\n" + _members(tail) + "\n}\n")

    def _write(self, text: str, start: str = "") -> None:
        self._file.write((start + text).encode("utf-8", errors="replace"))


def _members(content: dict[str, Any]) -> str:
    return ",\n".join(f"{json.dumps(key)}: {_json(value)}" for key, value in content.items())


def _json(value: Any) -> str:
    """Return the JSON of a value, with logins removed from addresses.

    The text is checked first, because few values hold a login, and walking through a value costs more than writing it.
    """
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(content_without_logins(value), ensure_ascii=False) if may_hold_login(text) else text


def recipe_text(content: dict[str, Any]) -> str:
    """Return YAML that can be submitted again. The API's short form is written as JSON (which is also YAML), so that `curl -d` works."""
    as_json = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if "model_url" in content:
        return as_json
    return write_yaml(json.loads(as_json))  # through JSON, so that tuples become lists and enums become their values


def _replace(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)
