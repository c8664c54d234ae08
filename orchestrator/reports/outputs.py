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
from datetime import UTC
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.reports.bundle import CampaignBundle
from orchestrator.reports.columns import Row
from orchestrator.reports.generation.outputs import write_outputs
from orchestrator.reports.load.requests import write_requests
from orchestrator.reports.run import RunTail, run_head, run_job
from orchestrator.reports.sheets.base import Page
from orchestrator.reports.sheets.registry import sheet_of
from orchestrator.reports.summary import SummaryTail, summary_head, summary_job
from orchestrator.reports.tables import stream_csv
from orchestrator.reports.telemetry import Sampled, jobs_with_telemetry, sampled_of, write_telemetry
from orchestrator.whole_files import remove_left_behind, whole_file
from shared.kinds.registry import DEFAULT_KIND
from shared.masking import content_without_logins, may_hold_login
from shared.recipes.text import write_yaml


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
    paths = [folder / name for name in ("recipe.yaml", "run.json", "summary.json", "results.csv", "report.json", "report.md")]
    recipe, run, summary, results, report_data, report_page = paths
    _replace(recipe, recipe_text(content_without_logins(bundle.recipe)).encode())
    sampled: list[Sampled] = []
    page = _write_jobs(bundle, run, summary, results, sampled)
    flat = outputs_dir / csv_name(bundle)  # written before the page, because the plot takes a second
    with results.open("rb") as source, whole_file(flat, parts=folder) as target:
        shutil.copyfileobj(source, target)
    pictures: list[tuple[str, str]] = []
    for picture in page.pictures(folder, f"{bundle.name} ({bundle.campaign_id})"):
        _replace(folder / picture.file, picture.png)
        pictures.append((picture.file, picture.shows))
    from orchestrator.reports.plot_telemetry import telemetry_picture  # matplotlib costs a second of CPU and 60 MB, so it is late

    if (drawn := telemetry_picture(folder, sampled, f"{bundle.name} ({bundle.campaign_id})")) is not None:
        _replace(folder / drawn.file, drawn.png)
        pictures.append((drawn.file, drawn.shows))
    telemetry = write_telemetry(folder, sampled)
    requests, answers = write_requests(folder), write_outputs(folder)
    content = page.content(bundle, pictures) | {"telemetry": telemetry.name if telemetry else None}
    if requests is not None:
        content["requests"] = requests.name
    if answers is not None:
        content["outputs"] = answers.name
    if may_hold_login(json.dumps(content, ensure_ascii=False)):
        content = content_without_logins(content)
    _replace(report_data, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    _replace(report_page, page.markdown(content).encode())
    for written in (report_page, *(folder / name for name, _ in pictures[:1])):  # one file of each folder is enough
        remove_left_behind(written)
    return [*paths, *(folder / name for name, _ in pictures), *filter(None, (telemetry, requests, answers)), flat]


def _write_jobs(bundle: CampaignBundle, run: Path, summary: Path, results: Path, sampled: list[Sampled]) -> Page:
    """Write three files in one pass over the jobs, and return the page with all jobs. All jobs of a campaign have one kind of work.

    Args:
        sampled: takes the jobs whose telemetry has arrived.
    """
    labels, there = bundle.device_labels(), jobs_with_telemetry(run.parent)
    jobs = iter(bundle.jobs)
    first = next(jobs, None)
    sheet = sheet_of(first.kind if first is not None else DEFAULT_KIND)
    page = sheet.page(labels, bundle.varied)
    run_tail, summary_tail = RunTail(bundle.devices), SummaryTail(sheet)
    with ExitStack() as stack:
        run_file = JobsFile(stack.enter_context(whole_file(run)), run_head(bundle))
        summary_file = JobsFile(stack.enter_context(whole_file(summary)), summary_head(bundle, sheet, first))

        def rows() -> Iterator[Row]:
            for job in itertools.chain([] if first is None else [first], jobs):
                entry = summary_job(job, sheet, labels, bundle.varied)
                run_file.add(run_job(job, labels, bundle.varied))
                summary_file.add(entry)
                run_tail.add(job)
                summary_tail.add(job, entry)
                page.add(job)
                if job.job_id in there:
                    sampled.append(sampled_of(job, labels))
                if job.row is not None:
                    yield job.row

        csv_file = stack.enter_context(whole_file(results))
        for chunk in stream_csv(rows()):
            csv_file.write(chunk)
        run_file.close(run_tail.content())
        summary_file.close(summary_tail.content())
    return page


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
    return write_yaml(json.loads(as_json))  # the content passes through JSON, so that tuples become lists and enums become their values


def _replace(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)
