"""Makes the report of devices: every figure of every job, and the roofline of each device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.reports.bundle import CampaignBundle, JobRecord
from orchestrator.reports.hardware.roofline import Roofline, rooflines
from orchestrator.reports.hardware.triad import said_of_triad
from orchestrator.reports.outcomes.measured import Measured
from orchestrator.reports.outcomes.page import OutcomePage
from orchestrator.reports.page_parts import MAX_LISTED, Picture
from orchestrator.reports.page_texts import figure_text
from shared.ids import number_of
from shared.markdown import cell

ROOFLINE = "plots/roofline.png"
MAX_WAYS = 5
_NEXT_SECTION = "\n\n## How it was measured"


class HardwarePage(OutcomePage):
    """Adds the rooflines to the page of outcomes, and how triad was computed."""

    def __init__(self, kind: str, headline: str, labels: Mapping[str, str], varied: Sequence[str]) -> None:
        super().__init__(kind, headline, labels, varied)
        self._rooflines: list[Roofline] = []  # those that are listed
        self._rooflines_total = 0
        self._triads: Counter[str] = Counter()  # how many jobs computed a triad in each way

    def add(self, job: JobRecord) -> None:
        super().add(job)
        if by := said_of_triad(job):
            self._triads[by] += 1

    def take(self, one: Measured) -> None:
        super().take(one)
        found = rooflines([one])
        self._rooflines_total += len(found)
        self._rooflines += found[: MAX_LISTED - len(self._rooflines)]

    def pictures(self, folder: Path, title: str) -> Iterator[Picture]:
        yield from super().pictures(folder, title)
        if lines := self._rooflines:
            from orchestrator.reports.hardware.plots import roofline_png  # matplotlib costs a second of CPU and 60 MB

            yield Picture(
                ROOFLINE,
                "The roofline of each device: what memory and what the units allow",
                roofline_png(lines, self._rooflines_total, title),
            )

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        listed = [
            {
                "job_id": line.job_id,
                "where": line.where,
                "precision": line.precision,
                "gb_per_s": line.gb_per_s,
                "tflops": line.tflops,
                "ridge_operations_per_byte": line.ridge,
            }
            for line in self._rooflines
        ]
        content = super().content(bundle, pictures)
        ways = [
            f"The triad `a = b + s·c` was computed by {cell(by, 200)} (in {jobs} of {content['jobs']} jobs)."
            for by, jobs in self._triads.most_common(MAX_WAYS)
        ]
        method = {**content["method"], "said": [*content["method"]["said"], *ways]}
        return {**content, "method": method, "rooflines": listed, "rooflines_total": self._rooflines_total}

    def markdown(self, content: dict[str, Any]) -> str:
        before, section, after = super().markdown(content).partition(_NEXT_SECTION)
        return before + _roofline_text(content) + section + after


def _roofline_text(content: dict[str, Any]) -> str:
    if not content["rooflines"]:
        return ""
    lines = [
        "\n\n## The rooflines",
        "",
        "A program that computes fewer operations for each byte than the ridge is limited by memory; one that computes more, by the units.",
        "",
        "| job | device · runtime | precision | bandwidth | matrix products | ridge |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for line in content["rooflines"]:
        number = number_of(line["job_id"])
        limits = f"{figure_text(line['gb_per_s'])} GB/s | {figure_text(line['tflops'])} TFLOP/s"
        ridge = f"{figure_text(line['ridge_operations_per_byte'])} operations per byte"
        lines.append(f"| {number} | {cell(line['where'])} | {line['precision']} | {limits} | {ridge} |")
    return "\n".join(lines)
