"""Makes the report of devices: every figure of every job, and the roofline of each device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator.reports.bundle import CampaignBundle
from orchestrator.reports.hardware.roofline import rooflines
from orchestrator.reports.outcomes.page import OutcomePage
from orchestrator.reports.page_parts import MAX_LISTED, Picture
from orchestrator.reports.page_texts import figure_text
from shared.markdown import cell

ROOFLINE = "plots/roofline.png"
_NEXT_SECTION = "\n\n## How it was measured"


class HardwarePage(OutcomePage):
    """Adds the rooflines to the page of outcomes."""

    def pictures(self, folder: Path, title: str) -> Iterator[Picture]:
        yield from super().pictures(folder, title)
        if lines := rooflines(self.jobs):
            from orchestrator.reports.hardware.plots import roofline_png  # matplotlib costs a second of CPU and 60 MB

            yield Picture(ROOFLINE, "The roofline of each device: what memory and what the units allow", roofline_png(lines, title))

    def content(self, bundle: CampaignBundle, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
        lines = rooflines(self.jobs)
        listed = [
            {
                "job_id": line.job_id,
                "where": line.where,
                "precision": line.precision,
                "gb_per_s": line.gb_per_s,
                "tflops": line.tflops,
                "ridge_operations_per_byte": line.ridge,
            }
            for line in lines[:MAX_LISTED]
        ]
        return {**super().content(bundle, pictures), "rooflines": listed, "rooflines_total": len(lines)}

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
        number = line["job_id"].rpartition("-job-")[2]
        limits = f"{figure_text(line['gb_per_s'])} GB/s | {figure_text(line['tflops'])} TFLOP/s"
        ridge = f"{figure_text(line['ridge_operations_per_byte'])} operations per byte"
        lines.append(f"| {number} | {cell(line['where'])} | {line['precision']} | {limits} | {ridge} |")
    return "\n".join(lines)
