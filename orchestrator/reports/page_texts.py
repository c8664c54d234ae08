"""Writes the parts of `report.md` that the reports of every kind of work have, from the data of `page_parts`."""

from __future__ import annotations

from typing import Any

from shared.ids import number_of
from shared.jobs import outcome
from shared.markdown import cell


def whole_page(content: dict[str, Any], *middle: str, what: str) -> str:
    """Return the page: what every report begins and ends with, and the parts of its own between. A part that is empty is left out.

    Args:
        what: the heading of the column that names the work, in the table of what failed.
    """
    parts = (head_text(content), *middle, failures_text(content, what), noise_text(content), again_text(content))
    return "\n\n".join(part for part in parts if part) + "\n"


def head_text(content: dict[str, Any]) -> str:
    """Return the title, the state and the notes of the campaign."""
    states = ", ".join(f"{count} {state}" for state, count in content["jobs_by_status"].items() if count) or "no jobs"
    lines = [
        f"# {cell(content['name'])}",
        f"Campaign `{content['benchmark_id']}`, {_outcome(content)}: {states}. From {content['created_at']} to {content['ended_at']}.",
    ]
    if content["notes"]:
        lines.append("\n".join(f"> {cell(line)}" for line in content["notes"].splitlines()))
    return "\n\n".join(lines)


def _outcome(content: dict[str, Any]) -> str:
    states = content["jobs_by_status"]
    return outcome(content["status"], content["jobs"], states["failed"], states["cancelled"])


def noisy_text(content: dict[str, Any]) -> list[str]:
    """Return the sentence for the first section if some results are noisy."""
    noisy = content["noise"]["grades"].get("noisy")
    if not noisy:
        return []
    why = " and ".join(cell(one["said"]) for one in content["noise"]["main_reasons"])
    are = "results are" if content["noise"]["jobs"] > 1 else "result is"
    return [f"{noisy} of {content['noise']['jobs']} {are} noisy: {why}. See *Noise*."]


def energy_text(content: dict[str, Any]) -> list[str]:
    """Return the sentence about energy for the first section, if anything was measured."""
    return [cell(content["energy"], 1_000)] if content["energy"] else []


def failures_text(content: dict[str, Any], what: str) -> str:
    """Return the table of what failed, or an empty text.

    Args:
        what: the heading of the column that names the work.
    """
    if not content["failures"]:
        return ""
    table = [f"| job | {what} | device · runtime | state | reason |", "| --- | --- | --- | --- | --- |"]
    for one in content["failures"]:
        number, reason = number_of(one["job_id"]), cell(one["reason"], 300)
        table.append(f"| {number} | {cell(one['work'])} | {cell(one['where'])} | {one['status']} | {reason} |")
    more = content["failures_total"] - len(content["failures"])
    return "## What failed\n\n" + "\n".join(table) + (f"\n\n{more} more in `results.csv`." if more else "")


def noise_text(content: dict[str, Any]) -> str:
    """Return how quiet the machines were, or an empty text if nobody graded them."""
    noise = content["noise"]
    if not noise["grades"]:
        return ""
    grades = ", ".join(f"{count} {grade}" for grade, count in noise["grades"].items())
    lines = [f"Jobs by how quiet their machine was while they were measured: {grades}.\n"]
    lines += [f"- {cell(one['said'])}: in {one['jobs']} of {noise['jobs']} jobs" for one in noise["reasons"]]
    if noise["not_steady"]:
        numbers = ", ".join(str(number_of(name)) for name in noise["not_steady"][:20])
        more = f" and {noise['not_steady_total'] - 20} more" if noise["not_steady_total"] > 20 else ""
        lines.append(
            f"\nNot steady within a repeat (trend or long warm-up): job {numbers}{more}. Their medians depend on how long one measures."
        )
    return "## Noise\n\n" + "\n".join(lines)


def again_text(content: dict[str, Any]) -> str:
    return (
        "## How to run it again\n\n"
        f"In the folder of this page, `{content['benchmark_id']}` in the outputs of the orchestrator (`recipe.yaml` is the recipe, and "
        f"`run.json` has the versions and the hashes of the models):\n\n    {content['run_again']}"
    )


def figure_text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def interval_text(ends: list[float] | None) -> str:
    return "–" if ends is None else f"{figure_text(ends[0])} – {figure_text(ends[1])}"
