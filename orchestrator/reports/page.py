"""Makes `report.md` and `report.json`: one page with the decision, then the method, then all details.

Both have the same content, because the page is written from the data of `report`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from orchestrator.reports.bundle import CampaignBundle
from orchestrator.reports.caveats import caveats
from orchestrator.reports.ranking import Figure, Ranking
from orchestrator.reports.rows import utc_text
from shared.jobs import JobStatus
from shared.markdown import cell as _cell
from shared.measurements import PERCENTILE_FLOORS

REPORT_FORMAT = 1
# 1: the first format. Times are milliseconds, memory is MB of 2^20 bytes.
MAX_LISTED = 500  # the most jobs in one table of the page; the CSV has all of them
PLOT = "plots/medians.png"

_METHOD = (
    "A **repeat** is a fresh process that loads the model (timed), warms up and then runs exactly the requested "
    "number of timed inferences.",
    "The **median** is taken over the timed inferences of all repeats together. Warm-ups enter no figure.",
    "The **95 % interval** is computed from the medians of the repeats, because fresh processes of the same code differ by more than the "
    "inferences within one process. From 6 repeats on it comes from order statistics. With 2 to 5 repeats it is Student's t around their "
    "mean. One repeat has no interval. With a stop rule it is the interval of Stein's two stages (1945), and the first five repeats decide "
    "its width.",
    "**Percentiles** use linear interpolation. Each is given only if there are enough samples (the floors of the MLPerf rules): "
    + ", ".join(f"{name} {floor}" for name, (_, floor) in PERCENTILE_FLOORS.items())
    + ". A `–` means that there were too few samples.",
    "**Load** is the median over all processes that loaded the model. This includes the first one, whose caches were cold.",
    "Only **the same work** is ranked together: the same bytes of the model, the same shapes, types and values of its inputs, and the same "
    "batch. Devices, providers, threads and levels of optimisation are compared.",
    "**Outliers** lie more than 1.5 interquartile ranges outside of the quartiles. They are counted, and they stay in all figures.",
)


def report(bundle: CampaignBundle, figures: Sequence[Figure], rankings: Sequence[Ranking]) -> dict[str, Any]:
    """Return the content of the page as data. Lists are cut at `MAX_LISTED`; their full length is given beside them."""
    states = Counter(one.status.value for one in figures)
    failures = [one for one in figures if one.status is not JobStatus.COMPLETE]
    reasons = Counter(reason for one in figures for reason in one.noise_reasons)
    return {
        "format": REPORT_FORMAT,
        "benchmark_id": bundle.campaign_id,
        "name": bundle.name,
        "notes": bundle.notes,
        "status": bundle.status.value,
        "created_at": utc_text(bundle.created_at),
        "ended_at": utc_text(bundle.ended_at),
        "jobs": len(figures),
        "jobs_by_status": {state.value: states.get(state.value, 0) for state in JobStatus},
        "fastest": [
            {"work": ranking.work, "verdict": ranking.verdict, "measured": len(ranking.figures), "ranking": _listed(ranking)}
            for ranking in rankings[:MAX_LISTED]
        ],
        "plot": PLOT,
        "caveats": caveats(figures),
        "method": {
            "said": list(_METHOD),
            "interval_methods": sorted({one.interval_method for one in figures if one.interval_method}),
            "memory_methods": sorted({one.memory_method for one in figures if one.memory_method}),
            "percentiles": "linear interpolation between closest ranks",
            "percentile_floors": {name: floor for name, (_, floor) in PERCENTILE_FLOORS.items()},
        },
        "failures": [
            {
                "job_id": one.job_id,
                "status": one.status.value,
                "work": " · ".join(filter(None, (one.name, one.parameters))),
                "where": one.kind,
                "reason": one.error or "no reason given",
            }
            for one in failures[:MAX_LISTED]
        ],
        "failures_total": len(failures),
        "noise": {
            "grades": dict(Counter(one.noise for one in figures if one.noise)),
            "reasons": dict(reasons.most_common(20)),
            "not_steady": [one.job_id for one in figures if one.steadiness == "not steady"][:MAX_LISTED],
        },
        "run_again": _command(bundle.recipe),
    }


def _command(recipe: dict[str, Any]) -> str:
    """Return the command that runs the campaign again from the page's folder. The API's short form needs curl, as it is no recipe."""
    if "model_url" in recipe:
        return 'curl -d @recipe.yaml "${FLEETMARK_HOST:-http://localhost:5000}/api/campaigns"'
    return "fleetmark run recipe.yaml --watch"


def _listed(ranking: Ranking) -> list[dict[str, Any]]:
    return [
        {
            "where": where,
            "job_id": one.job_id,
            "parameters": one.parameters,
            "median_ms": one.median,
            "median_ci_ms": [one.low, one.high] if one.low is not None else None,
            "p90_ms": one.p90,
            "p99_ms": one.p99,
            "load_ms": one.load,
            "peak_mb": one.peak_mb,
            "throughput_per_s": one.throughput,
            "inferences": one.inferences,
            "repeats": one.repeats,
            "outliers": one.outliers,
            "steadiness": one.steadiness,
            "noise": one.noise,
            "provider": one.provider or None,
            "provider_share": one.provider_share,
        }
        for one, where in zip(ranking.figures[:MAX_LISTED], ranking.places, strict=False)
    ]


def report_md(content: dict[str, Any]) -> str:
    """Return the page as Markdown, made from the data of `report`."""
    parts = [
        _head(content),
        _fastest(content),
        _caveats(content),
        _method(content),
        _jobs(content),
        _failures(content),
        _noise(content),
        _again(content),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(content: dict[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in content["jobs_by_status"].items() if count) or "no jobs"
    lines = [
        f"# {_cell(content['name'])}",
        f"Campaign `{content['benchmark_id']}`, {content['status']}: {states}. From {content['created_at']} to {content['ended_at']}.",
    ]
    if content["notes"]:
        lines.append("\n".join(f"> {_cell(line)}" for line in content["notes"].splitlines()))
    return "\n\n".join(lines)


def _fastest(content: dict[str, Any]) -> str:
    if not content["fastest"]:
        return "## Which is fastest\n\nNo job was measured; see *What failed*."
    parts = ["## Which is fastest"]
    for entry in content["fastest"]:
        table = [
            "| | device · runtime | median ms | 95 % interval | p90 ms | load ms | peak MB |",
            "| ---: | --- | ---: | --- | ---: | ---: | ---: |",
        ]
        table += [
            f"| {place} | {_cell(one['where'])} | {_figure(one['median_ms'])} | {_interval(one['median_ci_ms'])} | "
            f"{_figure(one['p90_ms'])} | {_figure(one['load_ms'])} | {_figure(one['peak_mb'])} |"
            for place, one in enumerate(entry["ranking"][:10], start=1)
        ]
        more = entry["measured"] - min(10, len(entry["ranking"]))
        rest = f"\n\n{more} more under *All measured jobs*." if more else ""
        parts.append(f"**{_cell(entry['work'])}**: {_cell(entry['verdict'])}.\n\n" + "\n".join(table) + rest)
    parts.append(f"![Median inference with its 95 % interval, per job]({content['plot']})")
    return "\n\n".join(parts)


def _caveats(content: dict[str, Any]) -> str:
    if not content["caveats"]:
        return ""
    lines = []
    for caveat in content["caveats"]:
        numbers = ", ".join(name.rpartition("-job-")[2] for name in caveat["jobs"][:20])
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
    if not content["fastest"]:
        return ""
    table = [
        "| job | model | device · runtime | median ms | 95 % interval | p90 ms | p99 ms | inferences | outliers | steady | noise |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | --- | ---: | --- | --- |",
    ]
    listed = [(entry["work"], one) for entry in content["fastest"] for one in entry["ranking"]]
    for work, one in listed[:MAX_LISTED]:
        table.append(
            f"| {one['job_id'].rpartition('-job-')[2]} | {_cell(work)} | {_cell(one['where'])} | {_figure(one['median_ms'])} | "
            f"{_interval(one['median_ci_ms'])} | {_figure(one['p90_ms'])} | {_figure(one['p99_ms'])} | "
            f"{one['inferences']} in {one['repeats']} | {one['outliers']} | {one['steadiness'] or '–'} | {one['noise'] or '–'} |"
        )
    measured = sum(entry["measured"] for entry in content["fastest"])
    more = f"\n\n{MAX_LISTED} of {measured}; all are in `results.csv`." if measured > MAX_LISTED else ""
    return "## All measured jobs\n\n" + "\n".join(table) + more


def _failures(content: dict[str, Any]) -> str:
    if not content["failures"]:
        return ""
    table = ["| job | model | device · runtime | state | reason |", "| --- | --- | --- | --- | --- |"]
    for one in content["failures"]:
        number, reason = one["job_id"].rpartition("-job-")[2], _cell(one["reason"], 300)
        table.append(f"| {number} | {_cell(one['work'])} | {_cell(one['where'])} | {one['status']} | {reason} |")
    more = content["failures_total"] - len(content["failures"])
    return "## What failed\n\n" + "\n".join(table) + (f"\n\n{more} more in `results.csv`." if more else "")


def _noise(content: dict[str, Any]) -> str:
    noise = content["noise"]
    if not noise["grades"]:
        return ""
    grades = ", ".join(f"{count} {grade}" for grade, count in noise["grades"].items())
    lines = [f"Jobs by how quiet their machine was while they were measured: {grades}."]
    lines += [f"- {count} × {_cell(reason)}" for reason, count in noise["reasons"].items()]
    if noise["not_steady"]:
        numbers = ", ".join(name.rpartition("-job-")[2] for name in noise["not_steady"][:20])
        lines.append(f"\nNot steady within a repeat (trend or long warm-up): job {numbers}. Their medians depend on how long one measures.")
    return "## Noise\n\n" + "\n".join(lines)


def _again(content: dict[str, Any]) -> str:
    return (
        "## How to run it again\n\nIn the folder of this page (recipe, versions and model hashes: `recipe.yaml`, `run.json`):\n\n"
        f"    {content['run_again']}"
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def _interval(ends: list[float] | None) -> str:
    return "–" if ends is None else f"{_figure(ends[0])} – {_figure(ends[1])}"
