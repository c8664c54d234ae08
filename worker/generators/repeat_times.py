"""Computes the times of one repeat from its record, whatever its calls were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.series import Record

Values = NDArray[np.float64]


@dataclass(frozen=True)
class RepeatTimes:
    """Holds the times of one repeat, in milliseconds, and how many tokens they stand for.

    Attributes:
        streamed: One value for each call, and so are `plain`, `prefill` and `ttft`.
        decoding: The time from the first token to the last, for each call.
        itl: The times between two tokens that follow each other.
        tpot: The mean time of a token after the first, for each call that has one.
        written: New tokens of all plain calls.
        decoded: New tokens after the first, of all streamed calls.
        read: Tokens of the prompts of all prefill calls.
    """

    streamed: Values
    plain: Values
    prefill: Values
    ttft: Values
    decoding: Values
    itl: Values
    tpot: Values
    written: int
    decoded: int
    read: int

    def tokens_per_s(self) -> float:
        return _rate(self.written, self.plain)

    def decode_tokens_per_s(self) -> float:
        return _rate(self.decoded, self.decoding)

    def prefill_tokens_per_s(self) -> float:
        return _rate(self.read, self.prefill)

    def streaming_cost_percent(self) -> float:
        return 100 * (float(np.median(self.streamed)) / float(np.median(self.plain)) - 1)


def of_prompts(record: Record) -> RepeatTimes:
    """Return the times of calls with prompts of one length, which write an exact number of tokens."""
    shape = record.facts["shape"]
    batch, read, written = (int(shape[name]) for name in ("batch_size", "input_tokens", "output_tokens"))
    streamed, plain, prefill = (_ms(record, name) for name in ("streamed", "plain", "prefill"))
    tokens = _ms(record, "tokens").reshape(-1, written)
    decoding = tokens[:, -1] - tokens[:, 0]
    return RepeatTimes(
        streamed=streamed,
        plain=plain,
        prefill=prefill,
        ttft=tokens[:, 0],
        decoding=decoding,
        itl=np.diff(tokens, axis=1).ravel(),
        tpot=decoding / (written - 1) if written > 1 else np.empty(0),
        written=batch * written * plain.size,
        decoded=batch * (written - 1) * decoding.size,
        read=batch * read * prefill.size,
    )


def of_task(record: Record) -> RepeatTimes:
    """Return the times of calls with documents, each of which writes as many tokens as the model does."""
    counts = np.asarray(record.series["counts"].values, dtype=np.int64)
    tokens, ends = _ms(record, "tokens"), np.cumsum(counts)
    starts = ends - counts
    first, last = tokens[starts], tokens[ends - 1]
    several = counts > 1
    within = np.ones(tokens.size, dtype=bool)  # whether the token before belongs to the same call
    within[starts] = False
    return RepeatTimes(
        streamed=_ms(record, "streamed"),
        plain=_ms(record, "plain"),
        prefill=np.empty(0),
        ttft=first,
        decoding=(last - first)[several],
        itl=np.diff(tokens, prepend=0.0)[within],
        tpot=(last - first)[several] / (counts[several] - 1),
        written=sum(record.series["plain_counts"].values),
        decoded=int((counts - 1).sum()),
        read=0,
    )


def _ms(record: Record, name: str) -> Values:
    return np.asarray(record.series[name].values, dtype=np.float64) / 1e6


def _rate(count: int, durations_ms: Values) -> float:
    total = float(durations_ms.sum())
    return count / total * 1e3 if total else 0.0
