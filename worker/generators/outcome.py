"""Computes the figures of a language model from the records of a job. Pure functions: everything that they know is in the records."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from shared.distributions import Distribution
from shared.figures import Figure, Outcome
from shared.kinds.generation import Generation
from shared.kinds.generation_figures import FIGURES
from shared.series import Record
from shared.stats import describe, median_interval_of_repeats
from shared.steadiness import steadiness, steadiness_of_repeats
from worker.generators.repeat_times import RepeatTimes, Values, of_prompts, of_task

ONLY_ONE = "a call that writes one token has no token after the first"
NO_GPU = "the job did not run on a GPU"
WITHOUT = {
    "import": "nothing is imported",
    "tokenizer": "there is no tokenizer beside this model",
    "weights": "no weights are read",
    "compile": "nothing is compiled",
}
UNCHECKED = "the calls of a task differ in length, and are not compared with the memory of the device: a recipe with `prompts` is"
NO_PREFILL = "a task has no pass of calls with one new token; the time until the first token says what reading a prompt costs"
TASK = "task"  # the key of a record's facts that a task has


def outcome_of(records: Sequence[Record], loads: Sequence[Record], stopped_because: str) -> Outcome:
    """Return the outcome of a job.

    Args:
        records: one for each repeat.
        loads: the records of the processes that only loaded the model.
    """
    is_task = TASK in records[0].facts
    repeats = [of_task(record) if is_task else of_prompts(record) for record in records]
    times = {
        "ttft": _pooled([one.ttft for one in repeats]),
        "unit": _pooled([one.plain for one in repeats]),
        "streamed": _pooled([one.streamed for one in repeats]),
        "prefill": _pooled([one.prefill for one in repeats]),
        "itl": _pooled([one.itl for one in repeats]),
        "tpot": _pooled([one.tpot for one in repeats]),
    }
    loaded = [record.phases["load"].wall_ns / 1e6 for record in [*records, *loads]]
    distributions = {name: one for name, one in times.items() if one is not None} | {"load": describe(loaded, loaded)}
    several = all(one.decoding.size and one.decoded for one in repeats)
    reads = all(one.prefill.size for one in repeats)
    figures = [
        _rates("tokens_per_s", [one.tokens_per_s() for one in repeats]),
        *_of_times("ttft", [one.ttft for one in repeats], times["ttft"]),
        *_of_times("itl", [one.itl for one in repeats], times["itl"]),
        *_of_times("tpot", [one.tpot for one in repeats], times["tpot"], tail=False),
        *_of_times("latency", [one.plain for one in repeats], times["unit"], tail=False),
        _rates("decode_tokens_per_s", [one.decode_tokens_per_s() for one in repeats] if several else [], ONLY_ONE),
        _rates("prefill_tokens_per_s", [one.prefill_tokens_per_s() for one in repeats] if reads else [], NO_PREFILL),
        _rates("streaming_cost_percent", [one.streaming_cost_percent() for one in repeats]),
        _rates("bandwidth_percent", [], UNCHECKED if is_task else "not checked"),
        _once_each("load_ms", loaded),
        *(_stage(name, [*records, *loads]) for name in ("import", "tokenizer", "weights", "compile")),
        _once_each("cold_first_token_ms", [record.facts["first_token_ns"] / 1e6 for record in records]),
        _largest("load_peak_mb", [record.phases["load"].peak_mb for record in records], "this system does not say"),
        _largest("generation_peak_mb", [record.phases["passes"].peak_mb for record in records], "this system does not say"),
        _largest(
            "generation_peak_gpu_mb",
            [record.facts["peak_gpu_mb"] for record in records],
            records[0].facts["runtime"].get("peak_gpu_missing") or NO_GPU,
        ),
    ]
    detail = task_detail(records) if is_task else {"shape": records[0].facts["shape"]}
    # The calls of a task differ in length, so that what looks like a trend may be the documents.
    detail |= {"stopped_because": stopped_because, **_steadiness(records, [] if is_task else repeats)}
    return Outcome(headline=Generation.headline, figures=tuple(figures), distributions=distributions, detail=detail)


def _steadiness(records: Sequence[Record], repeats: Sequence[RepeatTimes]) -> dict[str, Any]:
    """Return whether the plain calls were steady, and why they were not if the runtime compiled while it was measured."""
    compiled = [record.facts["compilations"] for record in records]
    if any(compiled):
        each = ", ".join(map(str, compiled))
        return {
            "steadiness": "not steady",
            "not_steady_because": f"recompiled: the runtime compiled or captured a graph in the measured part {each} times",
        }
    return {"steadiness": steadiness_of_repeats([steadiness(one.plain) for one in repeats]) if repeats else "unknown"}


def _pooled(samples: Sequence[Values]) -> Distribution | None:
    """Return the summary of the samples of all repeats together, or None if there are none."""
    if not all(sample.size for sample in samples):
        return None
    return describe(np.concatenate(samples), [float(np.median(sample)) for sample in samples])


def task_detail(records: Sequence[Record]) -> dict[str, Any]:
    """Return what the result says about the task: lengths, why the answers end, and whether the repeats wrote the same."""
    facts = dict(records[0].facts[TASK])
    read, written = facts.pop("input_tokens"), records[0].series["plain_counts"].values
    first = records[0].facts["digests"]
    differing = sum(any(record.facts["digests"][number] != one for record in records) for number, one in enumerate(first))
    return {
        **facts,
        "documents": len(first),
        "shape": {"batch_size": 1, "input_tokens": round(median(read)), "output_tokens": round(median(written))},
        "input_tokens": _spread(read),
        "output_tokens": _spread(written),
        "differing_documents": differing,
    }


def _spread(values: Sequence[int]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


def _rates(name: str, each: Sequence[float], missing: str = "") -> Figure:
    if not each:
        return Figure.of(name, FIGURES[name], missing=missing)
    return Figure.of(name, FIGURES[name], median(each), interval=median_interval_of_repeats(each), n=len(each), repeats=tuple(each))


def _of_times(name: str, samples: Sequence[Values], all_of_them: Distribution | None, *, tail: bool = True) -> list[Figure]:
    """Return the median of a time and, with `tail`, its 99th percentile: null with the reason if the sample is too small."""
    middle, end = f"{name}_ms", f"{name}_p99_ms"
    if all_of_them is None:
        return [Figure.of(one, FIGURES[one], missing=ONLY_ONE) for one in ((middle, end) if tail else (middle,))]
    each = [float(np.median(sample)) for sample in samples]
    interval = median_interval_of_repeats(each)
    figures = [Figure.of(middle, FIGURES[middle], all_of_them.median, interval=interval, n=all_of_them.n, repeats=tuple(each))]
    if tail:
        figures.append(Figure.of(end, FIGURES[end], all_of_them.p99, n=all_of_them.n, missing=all_of_them.missing.get("p99", "")))
    return figures


def _once_each(name: str, values: Sequence[float]) -> Figure:
    """Return the median of a time that each process has once."""
    return Figure.of(name, FIGURES[name], median(values), interval=median_interval_of_repeats(values), n=len(values), repeats=tuple(values))


def _stage(stage: str, records: Sequence[Record]) -> Figure:
    name = f"cold_{stage}_ms"
    values = [taken / 1e6 for record in records if (taken := record.facts["stages_ns"].get(stage)) is not None]
    return _once_each(name, values) if values else Figure.of(name, FIGURES[name], missing=WITHOUT[stage])


def _largest(name: str, values: Sequence[float | None], missing: str) -> Figure:
    known = [value for value in values if value is not None]
    return Figure.of(name, FIGURES[name], max(known), n=len(known)) if known else Figure.of(name, FIGURES[name], missing=missing)
