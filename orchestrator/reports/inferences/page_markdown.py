"""Writes `report.md`: the data of `page.report` as one page of Markdown."""

from __future__ import annotations

from typing import Any

from orchestrator.reports.inferences.same_work import UNKNOWN_CONTENT
from orchestrator.reports.page_parts import MAX_LISTED
from orchestrator.reports.page_texts import energy_text, figure_text, interval_text, noisy_text, whole_page
from shared.ids import number_of
from shared.markdown import cell as _cell

MAX_VERDICTS = 20  # the first section answers at most so many questions
MAX_ROWS = 16  # a table there has at most so many rows


def report_md(content: dict[str, Any]) -> str:
    """Return the page as Markdown, made from the data of `report`."""
    return whole_page(content, _answer(content), _caveats(content), _method(content), _jobs(content), what="model")


def _answer(content: dict[str, Any]) -> str:
    """Return the verdicts first, then the trade-off as a picture, then the tables behind them and the other pictures."""
    if not content["answers"]:
        return "## The answer\n\nNo job was measured; see *What failed*."
    verdicts = [f"- **{_cell(one['question'])}**: {_cell(one['verdict'], 1_000)}." for one in content["answers"][:MAX_VERDICTS]]
    if content["answers_total"] > MAX_VERDICTS:
        verdicts.append(f"- {content['answers_total'] - MAX_VERDICTS} more models or inputs under *All measured jobs*.")
    parts = ["## The answer", "\n".join(verdicts)]
    if len(content["answers"]) > 1:
        parts.append(
            "These lines are not ranked against each other: they differ in the model or in its inputs, so each has its own question."
        )
    parts += [*noisy_text(content), *energy_text(content)]
    pictures = [(one["file"], f"![{_cell(one['shows'])}]({one['file']})") for one in content["pictures"]]
    parts += [shown for file, shown in pictures if "tradeoff" in file]
    parts += _tables(content["answers"][:MAX_VERDICTS])
    parts += [shown for file, shown in pictures if "tradeoff" not in file]
    return "\n\n".join(parts)


def _tables(answers: list[dict[str, Any]]) -> list[str]:
    """Return one table for all questions with a single job, and one table for each other question."""
    alone = [one for one in answers if one["measured"] == 1]
    parts = [_table([(_cell(one["question"]), one["ranking"][0]) for one in alone], "model")] if alone else []
    for one in answers:
        if one["measured"] == 1:
            continue
        rows = [(str(place), job) for place, job in enumerate(one["ranking"][:MAX_ROWS], start=1)]
        marked = any(job["on_front"] for _, job in rows)
        other = "row" if one["devices_compared"] else "row of its device and compute unit"
        front = f"\n\n◆ is on the front: no other {other} has both a lower latency and more samples per second." if marked else ""
        left = one["measured"] - len(rows)
        rest = f"\n\n{left} more under *All measured jobs*." if left else ""
        order = "in the order of the campaign" if one["verdict"] == UNKNOWN_CONTENT else "the lowest latency first"
        parts.append(f"**{_cell(one['question'])}**, {order}:\n\n{_table(rows, '')}{front}{rest}")
    prices = {(job["price_per_hour"], job["price_source"]) for one in answers for job in one["ranking"] if job["price_source"]}
    if prices:
        said = "; ".join(f"{figure_text(price)} an hour by {_cell(source)}" for price, source in sorted(prices))
        parts.append(f"Cost: the price of the device's time for 1 000 samples at the measured rate, in the currency of the price ({said}).")
    return parts


def _table(rows: list[tuple[str, dict[str, Any]]], first: str) -> str:
    priced = any(job["cost_per_1000_samples"] is not None for _, job in rows)
    cost, rule = (" cost of 1 000 |", " ---: |") if priced else ("", "")
    table = [
        f"| {first} | device · runtime | median ms | 95 % interval | samples/s | 95 % interval | p90 ms | load ms | peak MB |{cost}",
        f"| {'---' if first else '---:'} | --- | ---: | --- | ---: | --- | ---: | ---: | ---: |{rule}",
    ]
    for name, one in rows:
        mark = " ◆" if one["on_front"] and not first else ""
        price = f" {figure_text(one['cost_per_1000_samples'])} |" if priced else ""
        table.append(
            f"| {name} | {_cell(one['where'])}{mark} | {figure_text(one['median_ms'])} | {interval_text(one['median_ci_ms'])} | "
            f"{figure_text(one['samples_per_s'])} | {interval_text(one['samples_per_s_ci'])} | {figure_text(one['p90_ms'])} | "
            f"{figure_text(one['load_ms'])} | {figure_text(one['peak_mb'])} |{price}"
        )
    return "\n".join(table)


def _caveats(content: dict[str, Any]) -> str:
    if not content["caveats"]:
        return ""
    lines = []
    for caveat in content["caveats"]:
        numbers = ", ".join(str(number_of(name)) for name in caveat["jobs"][:20])
        more = f" and {caveat['total'] - 20} more" if caveat["total"] > 20 else ""
        said = caveat["said"]
        lines.append(f"- {_cell(said[:1].upper() + said[1:], 500)} Job {numbers}{more}.")
    return "## What to keep in mind\n\n" + "\n".join(lines)


def _method(content: dict[str, Any]) -> str:
    said = [f"- {line}" for line in content["method"]["said"]]
    if content["method"]["interval_methods"]:
        said.append(f"- Methods of the intervals here: {', '.join(content['method']['interval_methods'])}.")
    if content["method"]["memory_methods"]:
        said.append(f"- Peak memory is of the whole measured process, by: {', '.join(map(_cell, content['method']['memory_methods']))}.")
    return "## How it was measured\n\n" + "\n".join(said)


def _jobs(content: dict[str, Any]) -> str:
    if not content["answers"]:
        return ""
    table = [
        "| job | model | device · runtime | median ms | 95 % interval | p90 ms | p99 ms | inferences | outliers | steady | noise |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | --- | ---: | --- | --- |",
    ]
    listed = [(entry["question"], one) for entry in content["answers"] for one in entry["ranking"]]
    for work, one in listed[:MAX_LISTED]:
        table.append(
            f"| {number_of(one['job_id'])} | {_cell(work)} | {_cell(one['where'])} | {figure_text(one['median_ms'])} | "
            f"{interval_text(one['median_ci_ms'])} | {figure_text(one['p90_ms'])} | {figure_text(one['p99_ms'])} | "
            f"{one['inferences']} in {one['repeats']} | {one['outliers']} | {one['steadiness'] or '–'} | {one['noise'] or '–'} |"
        )
    shown, measured = min(len(listed), MAX_LISTED), content["measured_total"]
    more = f"\n\n{shown} of {measured}; all are in `results.csv`." if measured > shown else ""
    return "## All measured jobs\n\n" + "\n".join(table) + more
