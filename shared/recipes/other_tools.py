"""Says where the words of other tools stand in a recipe.

The tools are MLPerf's LoadGen, AIPerf, GuideLLM, optimum-benchmark, k6, Locust, wrk and Phoronix. `shared/mistakes.py` knows which of our
keys a word means if that key stands in the same mapping. The words here stand in another one.
"""

from __future__ import annotations

from collections.abc import Mapping

_CLIENTS = "`client: {settings: {concurrent_clients: …}}`, the requests in flight; a list of them in `sweep` is a curve"
_RATE = "`load: {pattern: poisson, rate: …}` with the requests per second"
_PATTERN = "`load: {pattern: …}`, one of closed, constant, poisson, gamma, ramp, trace, single_stream, multi_stream, server, offline"
_STAGES = "`load: {pattern: ramp, rate_from: …, rate: …, duration_s: …}`, or levels in `sweep`"
_LENGTH = "`load: {duration_s: …}` with a number of seconds for each repeat"
_NUMBER = "`load: {count: …}` for requests, `inferences: …` for a model"
_SLO = "`slo: {p95_latency_ms: …, max_error_rate: …}`"
_ADDRESS = "`service: {type: …, address: …}`"
_REPEATS = "`repeats: …`, the fresh processes that measure"
_THREADS = "`options: {threads: …}`"
_SHAPES = "`options: {batch_size: …, dims: {sequence: …}}`, or `shapes` for whole inputs"
_INPUT = "`client: {settings: {input_tokens: …}}`"
_OUTPUT = "`client: {settings: {max_tokens: …}}`"
_ALWAYS = "nothing, because it is measured beside every job"
_ON = "`on: [cpu.onnx]`, what a device must be able to do (`fleetmark worker info` lists the words)"
_PAUSES = "`load: {pattern: constant, rate: …}`; a rate makes the pauses, and a closed load sends the next request at once"

PLACES: Mapping[str, str] = {
    **dict.fromkeys(("concurrency", "max_concurrency", "vus", "users", "connections", "num_users", "num_workers"), _CLIENTS),
    **dict.fromkeys(("target_qps", "qps", "rps", "request_rate", "rate"), _RATE),
    **dict.fromkeys(("scenario", "scenarios", "executor", "profile", "rate_type", "schedule"), _PATTERN),
    **dict.fromkeys(("stages", "startRate", "start_rate", "spawn_rate"), _STAGES),
    **dict.fromkeys(("duration", "run_time", "max_seconds", "min_duration", "min_duration_ms", "duration_s"), _LENGTH),
    **dict.fromkeys(("iterations", "num_prompts", "request_count", "max_requests", "min_query_count", "avgRuns", "samples"), _NUMBER),
    **dict.fromkeys(("thresholds", "goodput", "sla"), _SLO),
    **dict.fromkeys(("url", "host", "target", "base_url", "endpoint_url"), _ADDRESS),
    **dict.fromkeys(("times_to_run", "TimesToRun", "FORCE_TIMES_TO_RUN", "runs", "num_runs", "rounds"), _REPEATS),
    **dict.fromkeys(("threads", "num_threads", "intra_op_num_threads", "intra_op_threads"), _THREADS),
    **dict.fromkeys(("input_shapes", "sequence_length", "seq_len"), _SHAPES),
    **dict.fromkeys(("isl", "input_len", "random_input_len", "synthetic_input_tokens_mean"), _INPUT),
    **dict.fromkeys(("osl", "output_len", "random_output_len", "output_tokens_mean"), _OUTPUT),
    **dict.fromkeys(("energy", "power", "memory"), _ALWAYS),
    **dict.fromkeys(("backend", "runtime"), _ON),
    **dict.fromkeys(("wait_time", "think_time"), _PAUSES),
}
