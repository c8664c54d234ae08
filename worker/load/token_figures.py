"""Makes the figures of a language model from the records of its requests and of their tokens. Everything here is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shared.token_records import EVENTS, FINISHES, SOURCES, USAGE
from worker.load.phases import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shared.distributions import Distribution

Phases = Sequence[Measured]
BATCHED = 1.25  # tokens that come together; above it, the times between events are not those between tokens
LOADED_MS = 100.0  # a request for which the server loaded the model for longer says nothing of the model's speed
NOT_STREAMED = "the answers were not streamed"
NO_CONTENT = "no answer had content"
SINGLE = "no answer had more than one token"


class Made(Protocol):
    """Is what collects the figures of a job (`worker.load.figures.Figures`)."""

    def one(self, name: str, value: float | None, n: int = 0, missing: str = "") -> None: ...

    def per_repeat(self, name: str, compute: Callable[[Phases], float | None]) -> None: ...

    def sampled(
        self,
        stem: str,
        parts: Sequence[str],
        values_of: Callable[[Phases], NDArray[np.float64]],
        missing: str,
        never: str = "",
        *,
        named: Mapping[str, str] | None = None,
    ) -> Distribution | None: ...


def add_token_figures(made: Made, repeats: Sequence[Phases]) -> tuple[dict[str, Distribution | None], dict[str, Any]]:
    """Add the figures. Returns the distributions behind them, and what a result says about the tokens."""
    known = _Totals(repeats)
    silent = NO_CONTENT if known.streamed else NOT_STREAMED
    single = SINGLE if known.streamed else NOT_STREAMED
    made.per_repeat("tokens_per_second", tokens_per_s)
    made.sampled("", ("p50",), rates, NO_CONTENT, named={"p50": "tokens_per_second_per_request"})
    made.sampled("", ("p50",), decode_rates, single, named={"p50": "decode_tokens_per_s"})
    ttft = made.sampled("ttft_ms", ("avg", "p50", "p99"), lambda phases: times_ms(phases, "ttft"), silent)
    made.sampled("ttfo_ms", ("p50",), lambda phases: times_ms(phases, "ttfo"), silent)
    tpot = made.sampled("tpot_ms", ("avg", "p50", "p99"), tpots_ms, single)
    itl = made.sampled("itl_ms", ("p50", "p99"), gaps_ms, single, known.batched)
    made.sampled("", ("p50",), lambda phases: counts(phases, "input"), "the server does not count them", named={"p50": "input_tokens"})
    made.sampled("", ("p50",), lambda phases: counts(phases, "output"), NO_CONTENT, named={"p50": "output_tokens"})
    made.one("tokens_per_event", known.per_event, missing=known.per_event_unknown or silent)
    return {"ttft": ttft, "tpot": tpot, "itl": itl}, known.detail()


class _Totals:
    """Counts over all requests that succeeded in the windows."""

    def __init__(self, repeats: Sequence[Phases]) -> None:
        chosen = [phase.tokens.records[_good(phase)] for phases in repeats for phase in phases if phase.tokens is not None]
        self._all = np.concatenate(chosen)
        events, reads = int(self._all["events"].sum()), int(self._all["reads"].sum())
        self.streamed = events > 0
        counted = self._all[self._all["source"] != EVENTS]
        counted_events = int(counted["events"].sum())
        self.per_event = int(counted["output"].sum()) / counted_events if counted_events else None
        self.per_event_unknown = "the server does not say how many tokens it wrote" if events and not counted_events else ""
        self.per_read = events / reads if reads else None
        self.batched = ""
        if self.per_event is not None and self.per_event > BATCHED:
            self.batched = f"batched by the server: an event has {self.per_event:.2f} tokens"
        elif self.per_read is not None and self.per_read > BATCHED:
            self.batched = f"batched: {self.per_read:.2f} events arrived at the same moment"

    def detail(self) -> dict[str, Any]:
        sources = Counter(self._all["source"].tolist())
        loads = self._all["load"].astype(float) / 1e6
        loads = loads[~np.isnan(loads)]
        said = []
        if any(sources[place] for place in range(len(SOURCES)) if place != USAGE):
            said.append("the server did not say for every answer how many tokens it has, so events are counted in place of tokens")
        if (late := int((loads > LOADED_MS).sum())) > 0:
            said.append(f"the server loaded the model for {late} of the measured requests, for up to {loads.max():.0f} ms")
        return {
            "counted_by": {SOURCES[place] or "nothing": count for place, count in sorted(sources.items())},
            "events_per_arrival": self.per_read,
            "finished": {name: int(number) for name, number in self._finishes().items() if number},
            "without_last_words": int(((self._all["done"] == 0) & (self._all["events"] > 0)).sum()),
            "input_tokens": int(self._all["input"].sum(dtype="i8")),
            "cached_input_tokens": int(self._all["cached"].sum(dtype="i8")),
            "output_tokens": int(self._all["output"].sum(dtype="i8")),
            "load_ms_max": float(loads.max()) if len(loads) else None,
            "warnings": said,
        }

    def _finishes(self) -> dict[str, int]:
        return {name or "not said": int((self._all["finish"] == place).sum()) for place, name in enumerate(FINISHES)}


def _good(phase: Measured) -> NDArray[np.bool_]:
    """Return which requests enter the figures: those that were due in the window and succeeded."""
    return phase.counted() & (phase.records["failure"] == 0)  # type: ignore[no-any-return]


def tokens_per_s(phases: Phases) -> float:
    """Return the output tokens of the requests that succeeded and ended in the windows, per second of them."""
    windows = sum(phase.window_s() for phase in phases)
    written = sum(int(phase.tokens.records["output"][phase.completed()].sum(dtype="i8")) for phase in phases if phase.tokens is not None)
    return written / windows if windows > 0 else 0.0


def times_ms(phases: Phases, of: str) -> NDArray[np.float64]:
    return _each(phases, lambda _records, tokens: tokens[of].astype(float) / 1e6)


def counts(phases: Phases, of: str) -> NDArray[np.float64]:
    return _each(phases, lambda _records, tokens: np.where(tokens[of] > 0, tokens[of].astype(float), np.nan))


def rates(phases: Phases) -> NDArray[np.float64]:
    """Return the output tokens of each request per second of its latency."""
    return _each(phases, lambda records, tokens: np.where(tokens["output"] > 0, tokens["output"] / (records["last"] / 1e9), np.nan))


def decode_rates(phases: Phases) -> NDArray[np.float64]:
    """Return the output tokens after the first per second between the first and the last event."""
    return _each(phases, lambda _records, tokens: _ratio(tokens["output"] - 1.0, (tokens["last"] - tokens["ttft"]) / 1e9, tokens))


def tpots_ms(phases: Phases) -> NDArray[np.float64]:
    """Return the time per output token after the first: (latency - ttft) / (tokens - 1)."""
    return _each(
        phases, lambda records, tokens: _ratio((records["last"] - tokens["ttft"].astype(float)) / 1e6, tokens["output"] - 1.0, tokens)
    )


def gaps_ms(phases: Phases) -> NDArray[np.float64]:
    found = [phase.tokens.gaps_of(_good(phase)) / 1e6 for phase in phases if phase.tokens is not None]
    return np.concatenate(found) if found else np.zeros(0)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], tokens: NDArray[np.void]) -> NDArray[np.float64]:
    """Return a ratio where an answer has several tokens that came one after the other, and NaN elsewhere."""
    several = (tokens["output"] > 1) & (tokens["last"] > tokens["ttft"])
    found: NDArray[np.float64] = np.divide(above, below, out=np.full(len(tokens), np.nan), where=several)
    return found


def _each(phases: Phases, of: Callable[[NDArray[np.void], NDArray[np.void]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return one value for each request that succeeded, without those that are not known."""
    found = []
    for phase in phases:
        if phase.tokens is not None:
            good = _good(phase)
            values = of(phase.records[good], phase.tokens.records[good])
            found.append(values[~np.isnan(values)])
    return np.concatenate(found) if found else np.zeros(0)
