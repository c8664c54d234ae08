"""Turns pydantic's validation errors into one error for the sender of the input.

Each mistake is listed once, their number is limited, and logins in addresses are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from shared.errors import FieldError, InvalidInput, nearest
from shared.masking import without_logins

MAX_FIELDS = 100  # the most mistakes that are listed; a generated body may have one in each of 100 000 jobs
MAX_SHOWN = 200  # the most characters of a key that a message quotes


# Maps words of other tools (k6, Locust, LoadGen, GuideLLM, AIPerf, vLLM, optimum-benchmark, Phoronix) to our keys. The letters of most of
# them are near to a key that means something else.
_RATE, _CLIENTS, _LENGTH = ("rate",), ("concurrent_clients",), ("duration_s",)
_NUMBER = ("num_requests", "count", "inferences")
_OF_OTHER_TOOLS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("target_qps", "qps", "rps", "request_rate"), _RATE),
    **dict.fromkeys(("users", "vus", "concurrency", "max_concurrency", "connections"), _CLIENTS),
    **dict.fromkeys(("duration", "run_time", "max_seconds", "min_duration", "min_duration_ms"), _LENGTH),
    **dict.fromkeys(("iterations", "num_prompts", "request_count", "max_requests", "min_query_count", "samples", "avgRuns"), _NUMBER),
    **dict.fromkeys(("prompt_tokens", "isl", "input_len", "random_input_len", "synthetic_input_tokens_mean"), ("input_tokens",)),
    **dict.fromkeys(("output_tokens", "osl", "output_len", "random_output_len", "output_tokens_mean"), ("max_tokens",)),
    **dict.fromkeys(("times_to_run", "TimesToRun", "FORCE_TIMES_TO_RUN", "runs", "num_runs", "rounds"), ("repeats",)),
    **dict.fromkeys(("scenario", "executor", "profile", "rate_type", "schedule"), ("pattern",)),
    **dict.fromkeys(("startRate", "start_rate"), ("rate_from",)),
    **dict.fromkeys(("thresholds", "goodput", "sla"), ("slo",)),
    **dict.fromkeys(("url", "host", "target", "base_url"), ("address",)),
    **dict.fromkeys(("num_threads", "intra_op_num_threads", "intra_op_threads"), ("threads",)),
    **dict.fromkeys(("inter_op_num_threads", "inter_op_threads"), ("inter_threads",)),
    **dict.fromkeys(("backend", "runtime"), ("on",)),
}


def not_valid(what: str, items: Sequence[ErrorDetails], field_of: Callable[[ErrorDetails], FieldError]) -> InvalidInput:
    """Return an error whose message names the first mistake and whose `fields` list up to `MAX_FIELDS` of them.

    Args:
        what: the name of the input, which begins the message.
        field_of: converts one of pydantic's errors.
    """
    # pydantic also reports a list as too short if all of its items are wrong. The errors of the items are enough.
    spoken_for = {item["loc"][:length] for item in items for length in range(len(item["loc"]))}
    told = [item for item in items if item["type"] != "too_short" or item["loc"] not in spoken_for]
    fields = [field_of(item) for item in told[:MAX_FIELDS]]
    first = f"{fields[0].path}: {fields[0].message}" if fields[0].path else fields[0].message
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return InvalidInput(f"{what} is not valid: {first}{more}", fields=fields)


def path_of(location: Sequence[Any]) -> str:
    return ".".join(f"{part!s:.{MAX_SHOWN}}" for part in location)


def unknown_key(key: Any, known: list[str], places: Mapping[str, str] | None = None) -> str:
    """Return a hint for a key that is not known: the key that other tools call so, else the nearest one.

    Args:
        places: what to write for a word of another tool that has its place elsewhere. It counts only if no known key has that meaning.
    """
    meant = next((name for name in _OF_OTHER_TOOLS.get(str(key), ()) if name in known), None)
    elsewhere = (places or {}).get(str(key))
    if meant:
        hint = f"did you mean {meant!r}? Known: {', '.join(known)}"
    else:
        hint = f"write {elsewhere}. Known here: {', '.join(known)}" if elsewhere else nearest(str(key), known)
    return f"unknown key {str(key)[:MAX_SHOWN]!r}: {hint}"


def with_value(message: str, value: Any) -> str:
    return f"{message}, not {without_logins(repr(value)):.80}"  # masked before it is cut: a login cut in half would not be recognised
