"""Lists the figures that a worker measures of the kind `generation`: how fast a language model reads a prompt and writes tokens.

What the scorers say of the answers to a task (`shared.scorers`) is added by the orchestrator, after the run.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.figures import FigureKind

_STREAMED = "in the streamed pass"
FIGURES: Mapping[str, FigureKind] = {
    "tokens_per_s": FigureKind("1/s", "higher", "new tokens of all sequences per second of whole calls, in the plain pass"),
    "ttft_ms": FigureKind("ms", "lower", f"the median time from the call until the first new token is visible, {_STREAMED}"),
    "ttft_p99_ms": FigureKind("ms", "lower", f"the 99th percentile of the time until the first new token, {_STREAMED}"),
    "itl_ms": FigureKind("ms", "lower", f"the median time between two tokens that follow each other, {_STREAMED}"),
    "itl_p99_ms": FigureKind("ms", "lower", f"the 99th percentile of the time between two tokens that follow each other, {_STREAMED}"),
    "tpot_ms": FigureKind("ms", "lower", f"the median over the calls of the mean time of one token after the first, {_STREAMED}"),
    "latency_ms": FigureKind("ms", "lower", "the median time of a whole call, in the plain pass"),
    "decode_tokens_per_s": FigureKind(
        "1/s", "higher", f"new tokens after the first per second between the first and the last, {_STREAMED}"
    ),
    "prefill_tokens_per_s": FigureKind("1/s", "higher", "tokens of the prompts per second of calls that write one new token"),
    "streaming_cost_percent": FigureKind("%", "neither", "how much longer a call of the streamed pass takes than one of the plain pass"),
    "bandwidth_percent": FigureKind(
        "%", "neither", "the part of the device's own measured memory bandwidth that decoding uses at least: for weights, keys and values"
    ),
    "load_ms": FigureKind("ms", "lower", "the time from the start of the import until the weights are in memory"),
    "cold_import_ms": FigureKind("ms", "lower", "the time of importing the libraries in a fresh process"),
    "cold_tokenizer_ms": FigureKind("ms", "lower", "the time of reading the tokenizer in a fresh process"),
    "cold_weights_ms": FigureKind("ms", "lower", "the time of reading the weights in a fresh process"),
    "cold_compile_ms": FigureKind(
        "ms", "lower", "the time of compiling the model, and of all that the runtime does with it before any call"
    ),
    "cold_first_token_ms": FigureKind("ms", "lower", "the time of the first call of a fresh process until its first token is visible"),
    "load_peak_mb": FigureKind("MB", "lower", "the largest memory of the process while it loaded the model"),
    "generation_peak_mb": FigureKind("MB", "lower", "the largest memory of the process while it generated"),
    "generation_peak_gpu_mb": FigureKind("MB", "lower", "the most memory of the GPU that tensors held while the process generated"),
}
# The figures that say nothing if the clock was read before the device had done its work.
OF_SPEED = (
    *("tokens_per_s", "ttft_ms", "ttft_p99_ms", "itl_ms", "itl_p99_ms", "tpot_ms", "latency_ms", "decode_tokens_per_s"),
    *("prefill_tokens_per_s", "streaming_cost_percent"),
)
