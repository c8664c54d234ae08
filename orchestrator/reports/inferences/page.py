"""Makes the content of `report.json`: the answer, then the method, then all details.

`report.md` has the same content, because `page_markdown` writes it from this data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from orchestrator.reports.bundle import CampaignBundle
from orchestrator.reports.inferences.answers import Answer
from orchestrator.reports.inferences.caveats import caveats
from orchestrator.reports.inferences.figures import Figure
from orchestrator.reports.inferences.ranking import Ranking
from orchestrator.reports.page_parts import MAX_LISTED, head, tail
from shared.percentiles import PERCENTILE_FLOORS

REPORT_FORMAT = 2
# 1: the first format. Times are milliseconds, memory is MB of 2^20 bytes.
# 2: `answers` and `pictures` are new. `noise.reasons` is a list of `said` (with ranges) and `jobs`; it was a mapping of each text to its
#    count. The entries of a ranking have `samples_per_s`, its interval, and `cost_per_1000_samples` with the price's source. Later files
#    also have `energy`, `missing` and `telemetry`; in a ranking, `energy_j` and `energy_source`.
PLOT = "plots/medians.png"

_METHOD = (
    "A **repeat** is a fresh process that loads the model (timed), warms up and then runs exactly the requested "
    "number of timed inferences.",
    "The **median** is taken over the timed inferences of all repeats together. Warm-ups enter no figure.",
    "The **95 % interval** is computed from the medians of the repeats, because fresh processes of the same code differ by more than the "
    "inferences within one process. From 6 repeats on it comes from order statistics. With 2 to 5 repeats it is Student's t of their "
    "logarithms. One repeat has no interval. With a stop rule it is the interval of Stein's two stages (1945); its width comes from the "
    "first five repeats.",
    "**Percentiles** use linear interpolation. Each is given only if there are enough samples (the floors of the MLPerf rules): "
    + ", ".join(f"{name} {floor}" for name, (_, floor) in PERCENTILE_FLOORS.items())
    + ". A `–` means that there were too few samples.",
    "**Load** is the median over all processes that loaded the model. This includes the first one, whose caches were cold.",
    "**Samples per second** are the calls per second, one after the other, times the batch. Their interval is computed in the same way.",
    "Only **the same samples** are compared: the same bytes of the model, and the same shapes, types and values of its inputs, without the "
    "batch. Batches, devices, providers, threads and levels of optimisation are compared.",
    "**Outliers** lie more than 1.5 interquartile ranges outside of the quartiles. They are counted, and they stay in all figures.",
)


def report(
    bundle: CampaignBundle,
    figures: Sequence[Figure],
    rankings: Sequence[Ranking],
    answered: Sequence[Answer],
    pictures: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return the content of the page as data. Lists are cut at `MAX_LISTED`; their full length is given beside them.

    Args:
        pictures: the path of each picture in the campaign's folder, and what it shows.
    """
    return {
        **head(bundle, figures, REPORT_FORMAT),
        "answers": [
            {
                "question": answer.question,
                "verdict": answer.verdict,
                "devices_compared": answer.compared,
                "batches": answer.batches,
                "measured": len(answer.figures),
                "ranking": _listed(answer.figures, answer.places, answer.front if answer.batches > 1 else None),
            }
            for answer in answered[:MAX_LISTED]
        ],
        "answers_total": len(answered),
        "measured_total": sum(len(answer.figures) for answer in answered),
        "fastest_total": len(rankings),
        "fastest": [
            {
                "work": ranking.work,
                "verdict": ranking.verdict,
                "measured": len(ranking.figures),
                "ranking": _listed(ranking.figures, ranking.places),
            }
            for ranking in rankings[:MAX_LISTED]
        ],
        "plot": PLOT,
        "pictures": [{"file": name, "shows": shows} for name, shows in pictures],
        "caveats": caveats(figures),
        "method": {
            "said": list(_METHOD),
            "interval_methods": sorted({one.interval_method for one in figures if one.interval_method}),
            "memory_methods": sorted({one.memory_method for one in figures if one.memory_method}),
            "percentiles": "linear interpolation between closest ranks",
            "percentile_floors": {name: floor for name, (_, floor) in PERCENTILE_FLOORS.items()},
        },
        **tail(bundle, figures),
    }


def _listed(figures: Sequence[Figure], places: Sequence[str], front: Collection[str] | None = None) -> list[dict[str, Any]]:
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
            "batch_size": one.work.batch,
            "samples_per_s": one.samples_per_s,
            "samples_per_s_ci": [one.rate_low, one.rate_high] if one.rate_low is not None else None,
            "on_front": one.job_id in front if front is not None else None,
            "cost_per_1000_samples": one.cost_per_1000,
            "price_per_hour": one.price.per_hour if one.price else None,
            "price_source": one.price.source if one.price else None,
            "energy_j": one.energy.joules if one.energy else None,
            "energy_source": (one.energy.source if one.energy else "") or None,
            "inferences": one.inferences,
            "repeats": one.repeats,
            "outliers": one.outliers,
            "steadiness": one.steadiness,
            "noise": one.noise,
            "provider": one.provider or None,
            "provider_share": one.provider_share,
        }
        for one, where in zip(figures[:MAX_LISTED], places, strict=False)
    ]
