"""Compares the speed of a language model with what the memory of its device allows. Pure functions.

Each step of decoding reads all weights, and the keys and values of every token in the context. A device whose memory moves P bytes per
second cannot make a step faster than these bytes divided by P. A speed above 105 % of that is no speed: most likely the clock was read
before the device had done its work. P is what this worker has measured of its own device last (`hardware.…`, the test `bandwidth`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from shared.distributions import Interval
from shared.figures import Figure, Outcome
from shared.kinds.generation_figures import FIGURES, OF_SPEED
from shared.series import Record
from shared.stats import median_interval_of_repeats
from worker.generators.base import Reads
from worker.hardware_tests.last import LastFigures

MOST = 1.05
CACHES = 4  # weights that are not this many times as large as the caches may come from them, and not from the memory
PEAK, NAME, DETAIL = "peak_gb_per_s", "bandwidth_percent", "bandwidth"
# The capability under which a device's memory is measured, by what a capability of language models begins with.
MEASURED_AS = {"cpu": "hardware.cpu", "gpu.cuda": "hardware.cuda"}
_CACHES = ("last_level_cache_bytes", "l2_cache_bytes")


@dataclass(frozen=True)
class Peak:
    """Holds the bandwidth of the device, or why it is not known. `cache_bytes` is the size of its last caches together."""

    gb_per_s: float = 0.0
    cache_bytes: int = 0
    measured_at: str = ""
    unknown: str = ""


def peak_of(known: Sequence[LastFigures], capability: str) -> Peak:
    """Return the bandwidth of the device of a capability. Of several GPUs, the highest counts: it is not known here which was used"""
    wanted = MEASURED_AS.get(capability.rpartition(".")[0])
    if wanted is None:
        return Peak(unknown=f"no hardware test measures the memory of {capability}")
    peaks = [
        Peak(value, max(int(one.facts.get("bandwidth", {}).get(name) or 0) for name in _CACHES), one.measured_at)
        for one in known
        if one.capability == wanted and (value := one.value(PEAK))
    ]
    if not peaks:
        return Peak(unknown=f"this worker has not measured the memory of its device: run a recipe with `hardware:` on {wanted} once")
    return max(peaks, key=lambda one: one.gb_per_s)


def compared(outcome: Outcome, records: Sequence[Record], peak: Peak) -> tuple[Outcome, str]:
    """Return the outcome with the part of the bandwidth that decoding uses.

    If it is impossible, no figure of speed is left, and the reason is returned, too; otherwise it is empty.
    """
    reads = Reads(**records[0].facts["reads"])
    if why := peak.unknown or reads.unknown or _fits_caches(reads, peak):
        return _with(outcome, _figure(missing=f"not checked: {why}"), {"state": "not checked", "why": why}), ""
    repeats = [_gb_per_s(record, reads) for record in records]
    parts = [100 * one["decoding"] / peak.gb_per_s for one in repeats]
    highest = {name: max(one[name] for one in repeats) for name in repeats[0]}
    detail: dict[str, Any] = {"peak_gb_per_s": peak.gb_per_s, "measured_at": peak.measured_at, "gb_per_s": highest}
    too_fast = max(highest, key=highest.__getitem__)
    if highest[too_fast] <= MOST * peak.gb_per_s:
        figure = _figure(median(parts), interval=median_interval_of_repeats(parts), n=len(parts), repeats=tuple(parts))
        return _with(outcome, figure, detail | {"state": "checked"}), ""
    why = (
        f"void: {too_fast} would have read {highest[too_fast]:.4g} GB/s of weights, keys and values, and the memory of this device moves "
        f"{peak.gb_per_s:.4g} GB/s (measured {peak.measured_at}): the runtime most likely returned before the device had done its work. If "
        "the device was busy when its memory was measured, measure it again"
    )
    left = [_void(one, why) if one.name in OF_SPEED else one for one in outcome.figures]
    emptied = outcome.model_copy(
        update={"figures": tuple(left), "distributions": {name: one for name, one in outcome.distributions.items() if name == "load"}}
    )
    return _with(emptied, _figure(missing=why), detail | {"state": "void", "why": why}), why


def _fits_caches(reads: Reads, peak: Peak) -> str:
    if not reads.weights_bytes:
        return "the runtime does not say how large its weights are"
    if reads.weights_bytes < CACHES * peak.cache_bytes:
        return (
            f"its weights ({reads.weights_bytes / 1e6:.4g} MB) are not {CACHES} times as large as the caches of the device "
            f"({peak.cache_bytes / 1e6:.4g} MB), so they need not come from its memory"
        )
    return ""


def _gb_per_s(record: Record, reads: Reads) -> dict[str, float]:
    """Return how many GB (10^9 bytes) per second each pass of one repeat must have read."""
    shape = record.facts["shape"]
    batch, read, written = (int(shape[name]) for name in ("batch_size", "input_tokens", "output_tokens"))
    steps = written - 1  # the first token comes with the reading of the prompt
    contexts = steps * read + steps * (steps + 1) // 2  # how many tokens all steps together find in the context of one sequence
    decoding = steps * reads.weights_bytes + batch * contexts * reads.kv_bytes_per_token
    tokens, plain, prefill = (record.series[name].values for name in ("tokens", "plain", "prefill"))
    after_first = sum(tokens[end - 1] - tokens[end - written] for end in range(written, len(tokens) + 1, written))
    calls = len(plain)
    found = {
        "the plain pass": calls * (reads.weights_bytes + decoding) / max(1, sum(plain)),
        "the prefill pass": calls * reads.weights_bytes / max(1, sum(prefill)),
    }
    return {"decoding": calls * decoding / max(1, after_first) if steps else found["the plain pass"]} | found


def _figure(
    value: float | None = None, *, missing: str = "", interval: Interval | None = None, n: int = 0, repeats: tuple[float, ...] = ()
) -> Figure:
    return Figure.of(NAME, FIGURES[NAME], value, missing=missing[:2_000], interval=interval, n=n, repeats=repeats)


def _void(figure: Figure, why: str) -> Figure:
    return figure.model_copy(update={"value": None, "interval": None, "repeats": (), "missing": why[:2_000]})


def _with(outcome: Outcome, figure: Figure, detail: dict[str, Any]) -> Outcome:
    figures = tuple(figure if one.name == NAME else one for one in outcome.figures)
    return outcome.model_copy(update={"figures": figures, "detail": outcome.detail | {DETAIL: detail}})
