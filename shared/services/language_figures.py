"""Lists the figures of a language model that answers over HTTP, besides those of every load."""

from __future__ import annotations

from collections.abc import Mapping

from shared.figures import FigureKind

_TTFT = "from sending a request to its first event with content or reasoning (time to first token)"
_ITL = "between two events with content that follow each other (inter-token latency)"
_TPOT = "the time of one output token after the first: (latency - TTFT) / (tokens - 1)"

FIGURES: Mapping[str, FigureKind] = {
    "tokens_per_second": FigureKind(
        "1/s", "higher", "output tokens of the requests that succeeded in the measured window, per second of it, of all clients together"
    ),
    "tokens_per_second_per_request": FigureKind("1/s", "higher", "the median over the requests of output tokens / latency"),
    "decode_tokens_per_s": FigureKind(
        "1/s", "higher", "the median over the requests of output tokens after the first / the time between the first and the last event"
    ),
    "ttft_ms_avg": FigureKind("ms", "lower", f"the mean time {_TTFT}"),
    "ttft_ms_p50": FigureKind("ms", "lower", f"the median time {_TTFT}"),
    "ttft_ms_p95": FigureKind("ms", "lower", f"the 95th percentile of the time {_TTFT}"),
    "ttft_ms_p99": FigureKind("ms", "lower", f"the 99th percentile of the time {_TTFT}"),
    "ttfo_ms_p50": FigureKind("ms", "lower", "the median time from sending a request to its first event of the answer, without reasoning"),
    "tpot_ms_avg": FigureKind("ms", "lower", f"the mean over the requests of {_TPOT}"),
    "tpot_ms_p50": FigureKind("ms", "lower", f"the median over the requests of {_TPOT}"),
    "tpot_ms_p95": FigureKind("ms", "lower", f"the 95th percentile over the requests of {_TPOT}"),
    "tpot_ms_p99": FigureKind("ms", "lower", f"the 99th percentile over the requests of {_TPOT}"),
    "itl_ms_p50": FigureKind("ms", "lower", f"the median time {_ITL}"),
    "itl_ms_p99": FigureKind("ms", "lower", f"the 99th percentile of the time {_ITL}"),
    "input_tokens": FigureKind("", "neither", "the median number of tokens of a prompt"),
    "output_tokens": FigureKind("", "neither", "the median number of tokens of an answer, reasoning included"),
    "tokens_per_event": FigureKind("", "neither", "output tokens per event with content; above 1.25, the server sends tokens in batches"),
}
