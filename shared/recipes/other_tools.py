"""Says where the words of other tools stand in a recipe.

The tools are MLPerf's LoadGen, AIPerf, GuideLLM, optimum-benchmark, k6, Locust, wrk and Phoronix. `shared/mistakes.py` knows which of our
keys a word means if that key stands in the same mapping. The words here stand in another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from shared.kinds.base import Kind
from shared.kinds.generation import OF_A_TASK
from shared.kinds.registry import KINDS
from shared.recipes.keys import section
from shared.services.registry import SERVICES

SAME_WORD = 0.75  # how alike a word and the key of a deeper section are at least: `connections` and `max_connections` are
# The sections whose unknown keys may have their place in another section. The keys of all other sections mean something in them alone.
_OPEN = ((), ("service",), ("client",), ("client", "settings"), ("load",), ("slo",), ("benchmarks",))


@dataclass(frozen=True)
class Advice:
    """Says what to write in place of a word of another tool.

    Attributes:
        text: What to write.
        beside: The marks of kinds of work, such as `service`, one of which a recipe must have. If there are none, it fits every recipe.
        setting: The setting that the clients of the service must have, or an empty text.
    """

    text: str
    beside: tuple[str, ...] = ()
    setting: str = ""


_MODEL, _PROMPTS, _TASK, _HARDWARE, _SERVICE = ("model", "models"), ("prompts",), ("task",), ("hardware",), ("service",)
_SECONDS = "`hardware: {seconds: …}`, the seconds that one job takes, all tests and repeats together"
_CLIENTS = (
    Advice("`client: {settings: {concurrent_clients: …}}`, the requests in flight; a list of them in `sweep` is a curve", _SERVICE),
)
_RATE = (Advice("`load: {pattern: poisson, rate: …}` with the requests per second", _SERVICE),)
_PATTERN = (
    Advice(
        "`load: {pattern: …}`, one of closed, constant, poisson, gamma, ramp, trace, single_stream, multi_stream, server, offline", _SERVICE
    ),
)
_STAGES = (Advice("`load: {pattern: ramp, rate_from: …, rate: …, duration_s: …}`, or levels in `sweep`", _SERVICE),)
_LENGTH = (
    Advice("`load: {duration_s: …}` with a number of seconds for each repeat", _SERVICE),
    Advice(_SECONDS, _HARDWARE),
)
_NUMBER = (
    Advice("`load: {count: …}`, the requests of each repeat", _SERVICE),
    Advice("`inferences: …`, the timed calls of each repeat", _MODEL),
    Advice("`prompts: {requests: …}`, the calls of each repeat", _PROMPTS),
    Advice("`task: {name: …, documents: …}`, the calls of each repeat", _TASK),
)
_SLO = (Advice("`slo: {p95_latency_ms: …, max_error_rate: …}`", _SERVICE),)
_ADDRESS = (Advice("`service: {type: …, address: …}`", _SERVICE),)
_REPEATS = (Advice("`repeats: …`, the fresh processes that measure"),)
_THREADS = (Advice("`options: {threads: …}`", (*_MODEL, *_PROMPTS, *_TASK)),)
_SHAPES = (Advice("`options: {batch_size: …, dims: {sequence: …}}`, or `shapes` for whole inputs", _MODEL),)
_INPUT = (
    Advice("`client: {settings: {input_tokens: …}}`", _SERVICE, setting="input_tokens"),
    Advice("`prompts: {input_tokens: …}`", _PROMPTS),
)
_OUTPUT = (
    Advice("`client: {settings: {max_tokens: …}}`", _SERVICE, setting="max_tokens"),
    Advice("`prompts: {output_tokens: …}`", _PROMPTS),
)
_ALWAYS = (Advice("nothing, because it is measured beside every job"),)
_ON = (Advice("`on: [cpu.onnx]`, what a device must be able to do (`fleetmark worker info` lists the words)", _MODEL),)
_PAUSES = (
    Advice("`load: {pattern: constant, rate: …}`; a rate makes the pauses, and a closed load sends the next request at once", _SERVICE),
)

_LENGTHS = ("duration", "run_time", "max_seconds", "min_duration", "min_duration_ms", "duration_s")
PLACES: Mapping[str, tuple[Advice, ...]] = {
    **dict.fromkeys(("concurrency", "max_concurrency", "vus", "users", "connections", "num_users", "num_workers"), _CLIENTS),
    **dict.fromkeys(("target_qps", "qps", "rps", "request_rate", "rate"), _RATE),
    **dict.fromkeys(("scenario", "scenarios", "executor", "profile", "rate_type", "schedule"), _PATTERN),
    **dict.fromkeys(("stages", "startRate", "start_rate", "spawn_rate"), _STAGES),
    **dict.fromkeys(_LENGTHS, _LENGTH),
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
# What a length is called in the sections that have one of their own.
LENGTH_IN: Mapping[str, str] = {
    "warmup": "`warmup: {max_s: …}`, the longest time of the warm-up in seconds",
    "hardware": _SECONDS,
    "stop": "`stop: {budget_s: …}`, the seconds after which no further repeat begins",
}


def place_of(location: Sequence[str | int], owner: type[BaseModel], recipe: Mapping[str, Any] | None) -> str:
    """Return what to write in place of a key that is not known where it stands, or an empty text if its nearest key is the best hint.

    Args:
        location: The keys that lead to it, and the key itself.
        owner: The section that it stands in.
        recipe: The whole recipe, or None if it has been checked already, so that each of its sections fits its kind of work.
    """
    *above, last = location
    word, where = str(last), tuple(above)
    if word in _LENGTHS and len(where) == 1 and (own := LENGTH_IN.get(str(where[0]))):
        return own
    service = (recipe or {}).get("service")
    runs_already = isinstance(service, Mapping) and "address" in service  # such a service takes no settings
    if where[:1] == ("service",) and not runs_already and (deeper := _deeper(word, owner)):
        *outer, key = deeper
        return f"`{''.join(f'{name}: {{' for name in outer)}{key}: …{'}' * len(outer)}`"
    if word in PLACES and (where in _OPEN or (where[:1] == ("models",) and len(where) == 2)):
        return _fitting(PLACES[word], recipe)
    return ""


def keys_that_fit(owner: type[BaseModel], location: Sequence[str | int], recipe: Mapping[str, Any] | None) -> list[str]:
    """Return the known keys of a section. At the top of a recipe, the keys that would be refused beside its kind of work are left out."""
    known = list(owner.model_fields)
    kind = _kind_of(recipe) if recipe is not None and len(location) == 1 else None
    if recipe is None or kind is None:
        return known
    foreign = {key for other in KINDS.values() for key in other.keys} - kind.keys
    return [key for key in known if key not in foreign and (key not in OF_A_TASK or "task" in recipe)]


def _fitting(candidates: Sequence[Advice], recipe: Mapping[str, Any] | None) -> str:
    """Return the first advice that is not refused next, or why this recipe has no place for the word."""
    if recipe is None:
        return candidates[0].text
    kind = _kind_of(recipe)
    marks = {mark for one in KINDS.values() if kind in (None, one) for mark in one.marks if mark in recipe}
    service = recipe.get("service")
    named = service.get("type") if isinstance(service, Mapping) else None
    for one in candidates:
        if one.beside and not marks.intersection(one.beside):
            continue
        if one.setting and isinstance(named, str) and named in SERVICES and one.setting not in SERVICES[named].client.model_fields:
            return f"nothing, because the clients of a service of the type {named} have no such setting"
        return one.text
    beside = ", ".join(f"`{mark}`" for mark in dict.fromkeys(mark for one in candidates for mark in one.beside))
    which = f"one of {beside}" if "," in beside else beside
    return f"nothing, because it has a meaning only beside {which}, and this recipe measures something else"


def _kind_of(recipe: Mapping[str, Any]) -> Kind | None:
    """Return the kind of work of a recipe that is not checked yet, or None if its keys make none, or more than one."""
    marks = {key for kind in KINDS.values() for key in kind.marks if key in recipe}
    kinds = [kind for kind in KINDS.values() if marks.intersection(kind.marks) and kind.keys.issuperset(marks)]
    return kinds[0] if len(kinds) == 1 else None


def _deeper(word: str, owner: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys that lead to a key like this word in the sections below, or nothing if there is none or if the owner has one."""
    if get_close_matches(word, owner.model_fields, n=1, cutoff=SAME_WORD):
        return ()
    for key in owner.model_fields:
        below = section(owner, key)
        close = get_close_matches(word, below.model_fields, n=1, cutoff=SAME_WORD) if below is not None else []
        if close:
            return (key, close[0])
        if below is not None and (deeper := _deeper(word, below)):
            return (key, *deeper)
    return ()
