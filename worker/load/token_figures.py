"""Makes the figures of a language model from the records of its requests and of their tokens. Everything here is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shared.token_records import EVENTS, FINISHES, SOURCES, USAGE
from worker.load.phases import Measured, ended_of
from worker.load.samples import NS_OF_MS, Sample
from worker.load.tokens import TokenBlock, token_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shared.distributions import Distribution

Phases = Sequence[Measured]
Values = Callable[[TokenBlock, "NDArray[np.bool_]"], "NDArray[np.floating]"]
BATCHED = 1.25  # tokens that come together; above it, the times between events are not those between tokens
LOADED_NS = 100e6  # a request for which the server loaded the model for longer says nothing of the model's speed
NOT_STREAMED = "the answers were not streamed"
NO_CONTENT = "no answer had content"
SINGLE = "no answer had more than one token"


class Made(Protocol):
    """Is what collects the figures of a job (`worker.load.figures.Figures`)."""

    def one(self, name: str, value: float | None, n: int = 0, missing: str = "") -> None: ...

    def per_repeat(self, name: str, compute: Callable[[Phases], float | None]) -> None: ...

    def sampled(self, names: Mapping[str, str], samples: Sequence[Sample], missing: str) -> Distribution | None: ...


@dataclass
class TokenTally:
    """Counts what was written for the requests of one phase that succeeded. See `worker.load.phases.Tally` for the requests themselves.

    Attributes:
        answers: The requests.
        completed: The output tokens of those that ended inside the window.
        counted: The output tokens that the server has counted, and `counted_events` the events that they came in.
        gaps: The times between events.
        sources, finishes: How often each source and each reason to end was named, by its place.
        silent: The streams that ended without the words that their protocol has for it.
        loads: The requests for which the server loaded the model, and `load_ns` the longest time of it; None if it does not say.
    """

    answers: int = 0
    completed: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    events: int = 0
    reads: int = 0
    counted: int = 0
    counted_events: int = 0
    gaps: int = 0
    silent: int = 0
    loads: int = 0
    load_ns: float | None = None
    sources: Counter[int] = field(default_factory=Counter)
    finishes: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, phases: Phases) -> TokenTally:
        found = cls()
        for phase in phases:
            found._add(phase)
        return found

    @classmethod
    def sum(cls, tallies: Sequence[TokenTally]) -> TokenTally:
        """Return the counts of several tallies together."""
        found = cls()
        for one in fields(cls):
            if one.name != "load_ns":
                for tally in tallies:
                    setattr(found, one.name, getattr(found, one.name) + getattr(tally, one.name))
        found.load_ns = max((tally.load_ns for tally in tallies if tally.load_ns is not None), default=None)
        return found

    def _add(self, phase: Measured) -> None:
        """Count a phase, in one pass over its records."""
        window = phase.window_s() * 1e9
        for block in token_blocks(phase):
            good, ended = _good(phase, block), ended_of(block.records)
            inside = (block.records["failure"] == 0) & (ended >= 0) & (ended <= window)
            self.completed += int(block.tokens["output"][inside].sum(dtype="i8"))
            tokens = block.tokens[good]
            for name in ("input", "output", "cached", "events", "reads"):
                setattr(self, name, getattr(self, name) + int(tokens[name].sum(dtype="i8")))
            counted = tokens[tokens["source"] != EVENTS]
            self.counted += int(counted["output"].sum(dtype="i8"))
            self.counted_events += int(counted["events"].sum(dtype="i8"))
            self.answers += len(tokens)
            self.gaps += int(np.maximum(tokens["events"].astype("i8") - 1, 0).sum())
            self.silent += int(((tokens["done"] == 0) & (tokens["events"] > 0)).sum())
            self.sources.update(tokens["source"].tolist())
            self.finishes.update(tokens["finish"].tolist())
            told = tokens["load"][~np.isnan(tokens["load"])]
            if len(told):
                self.loads += int((told > LOADED_NS).sum())
                self.load_ns = max(self.load_ns or 0.0, float(told.max()))


def add_token_figures(made: Made, repeats: Sequence[Phases]) -> tuple[dict[str, Distribution | None], dict[str, Any]]:
    """Add the figures. Returns the distributions behind them, and what a result says about the tokens."""
    tallies = [TokenTally.of(phases) for phases in repeats]
    total = TokenTally.sum(tallies)

    def samples(values: Values) -> list[Sample]:
        return [Sample.of(_blocks(phases, values), one.answers) for phases, one in zip(repeats, tallies, strict=True)]

    def tokens_per_s(phases: Phases) -> float:
        windows = sum(phase.window_s() for phase in phases)
        return tallies[repeats.index(phases)].completed / windows if windows > 0 else 0.0

    streamed = total.events > 0
    silent, single = (NO_CONTENT, SINGLE) if streamed else (NOT_STREAMED, NOT_STREAMED)
    batched = _batched(total)
    made.per_repeat("tokens_per_second", tokens_per_s)
    made.sampled({"p50": "tokens_per_second_per_request"}, samples(_rates), NO_CONTENT)
    made.sampled({"p50": "decode_tokens_per_s"}, samples(_decode_rates), single)
    found = {"ttft": made.sampled(_names("ttft_ms", "avg", "p50", "p95", "p99"), samples(_times("ttft")), silent)}
    made.sampled(_names("ttfo_ms", "p50"), samples(_times("ttfo")), silent)
    found["tpot"] = made.sampled(_names("tpot_ms", "avg", "p50", "p95", "p99"), samples(_tpots), single)
    between = [Sample.of(_blocks(phases, TokenBlock.gaps_of), one.gaps) for phases, one in zip(repeats, tallies, strict=True)]
    found["itl"] = made.sampled(_names("itl_ms", "p50", "p99"), [] if batched else between, batched or single)
    made.sampled({"p50": "input_tokens"}, samples(_counts("input")), "the server does not count them")
    made.sampled({"p50": "output_tokens"}, samples(_counts("output")), NO_CONTENT)
    unknown = "the server does not say how many tokens it wrote" if streamed else silent
    made.one("tokens_per_event", total.counted / total.counted_events if total.counted_events else None, total.answers, unknown)
    return found, _detail(total)


def _names(stem: str, *parts: str) -> dict[str, str]:
    return {part: f"{stem}_{part}" for part in parts}


def _batched(total: TokenTally) -> str:
    """Return why the times between events are not those between tokens, or an empty text if they are."""
    if total.counted_events and (per_event := total.counted / total.counted_events) > BATCHED:
        return f"batched by the server: an event has {per_event:.2f} tokens"
    if total.reads and (per_read := total.events / total.reads) > BATCHED:
        return f"batched: {per_read:.2f} events arrived at the same moment"
    return ""


def _detail(total: TokenTally) -> dict[str, Any]:
    said = []
    if any(total.sources[place] for place in range(len(SOURCES)) if place != USAGE):
        said.append("the server did not say for every answer how many tokens it has, so events are counted in place of tokens")
    if total.loads and total.load_ns is not None:
        said.append(f"the server loaded the model for {total.loads} of the measured requests, for up to {total.load_ns / NS_OF_MS:.0f} ms")
    return {
        "counted_by": {SOURCES[place] or "nothing": count for place, count in sorted(total.sources.items())},
        "events_per_arrival": total.events / total.reads if total.reads else None,
        "finished": {FINISHES[place] or "not said": count for place, count in sorted(total.finishes.items())},
        "without_last_words": total.silent,
        "input_tokens": total.input,
        "cached_input_tokens": total.cached,
        "output_tokens": total.output,
        "load_ms_max": total.load_ns / NS_OF_MS if total.load_ns is not None else None,
        "warnings": said,
    }


# The values of the requests of a block that succeeded, in nanoseconds. A sample is of times, so a number that is none is multiplied by
# 10^6: it is shown in milliseconds, which is the number itself again.


def _times(of: str) -> Values:
    return lambda block, good: block.tokens[of][good]


def _counts(of: str) -> Values:
    return lambda block, good: np.where(block.tokens[of] > 0, block.tokens[of] * NS_OF_MS, np.nan)[good]


def _rates(block: TokenBlock, good: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the output tokens of each request per second of its latency."""
    tokens = block.tokens["output"][good]
    return np.where(tokens > 0, tokens / (block.records["last"][good] / 1e9) * NS_OF_MS, np.nan)


def _decode_rates(block: TokenBlock, good: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the output tokens after the first per second between the first and the last event."""
    tokens = block.tokens[good]
    return _ratio((tokens["output"] - 1.0) * NS_OF_MS, (tokens["last"].astype(float) - tokens["ttft"]) / 1e9, tokens)


def _tpots(block: TokenBlock, good: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the time per output token after the first: (latency - ttft) / (tokens - 1)."""
    tokens = block.tokens[good]
    return _ratio(block.records["last"][good].astype(float) - tokens["ttft"], tokens["output"] - 1.0, tokens)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], tokens: NDArray[np.void]) -> NDArray[np.float64]:
    """Return a ratio where an answer has several tokens that came one after the other, and NaN elsewhere."""
    several = (tokens["output"] > 1) & (tokens["last"] > tokens["ttft"])
    found: NDArray[np.float64] = np.divide(above, below, out=np.full(len(tokens), np.nan), where=several)
    return found


def _good(phase: Measured, block: TokenBlock) -> NDArray[np.bool_]:
    """Return which requests enter the figures: those that were due in the window and succeeded."""
    found: NDArray[np.bool_] = phase.counted(block.records) & (block.records["failure"] == 0)
    return found


def _blocks(phases: Phases, values: Values) -> Iterator[NDArray[np.floating]]:
    """Yield the values of the requests that succeeded, without those that are not known."""
    for phase in phases:
        for block in token_blocks(phase):
            found = values(block, _good(phase, block))
            yield found[~np.isnan(found)]
