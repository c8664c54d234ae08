"""Lists the trusted tools of other people that can drive a service in place of our own clients, and what each of them can do.

A recipe asks for one with `client: {driver: pgbench}`. The same settings are then translated into the command line of the tool. What a tool
cannot do is refused here, before anything runs, so that it never measures something else than the recipe says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

OURS = "fleetmark"
NATIVE = "native"  # in a recipe: the first tool of the type of service
MOST_VALUE_BYTES = 64 * 1024  # of a value that is an argument of a command; Linux allows 128 kB for one
PREFIX_AND_DIGITS = 22  # the bytes of `fleetmark:` and of the 12 digits that redis-benchmark draws


class Asked(Protocol):
    """Is what a job asks for; `shared.kinds.load.LoadSpec` has these attributes."""

    @property
    def client(self) -> Any: ...
    @property
    def load(self) -> Any: ...
    @property
    def phases(self) -> Any: ...
    @property
    def concurrent_clients(self) -> int: ...
    @property
    def num_clients(self) -> int: ...


@dataclass(frozen=True)
class NativeTool:
    """Describes one tool.

    Attributes:
        services: the types of service that it drives.
        patterns: the patterns of `load.pattern` that it can follow.
        per_request: whether it tells what became of each request. Otherwise it prints a distribution, and there is no `requests.jsonl`.
        install: what to type so that it is installed, on Debian and Ubuntu.
        definitions: how it defines what it tells, where that differs from our own clients; each is one sentence.
    """

    name: str
    services: tuple[str, ...]
    patterns: tuple[str, ...]
    per_request: bool
    install: str
    definitions: tuple[str, ...]


TOOLS: Mapping[str, NativeTool] = {
    tool.name: tool
    for tool in (
        NativeTool(
            name="redis-benchmark",
            services=("redis",),
            patterns=("closed", "single_stream"),
            per_request=False,
            install="apt-get install redis-tools",
            definitions=(
                "its latency ends when the first byte of the answer arrives, so compare it with ttfb_ms of our own clients",
                "with a pipeline, each answer has the latency of its whole batch, and latencies above 3 s count as 3 s",
                "its rate is all requests divided by the whole time, ramp-up and drain included",
                "it takes a number of requests and no time, so a first run finds how many fit into `duration_s`",
                "its percentiles are the ends of the steps that it prints",
            ),
        ),
        NativeTool(
            name="memtier_benchmark",
            services=("redis",),
            patterns=("closed", "single_stream", "constant"),
            per_request=False,
            install="apt-get install memtier-benchmark",
            definitions=(
                "its latency ends when the whole answer has arrived, and with a pipeline each command has its own",
                "it rounds latencies up to steps of 8 µs, which get wider with the latency",
                "it sends GET and SET in turns by their shares, not at random",
                "each of its connections sends equally many requests, so a number of requests is rounded to a multiple of the connections",
                "a rate limits each connection: one that waits for an answer sends later, and no latency counts from a scheduled moment",
                "above 50 requests per second of a connection, it sends them in at most 50 small bursts per second",
                "its rate is all requests divided by the whole time, drain included",
                "a warm-up is a run of its own before, in whole seconds",
            ),
        ),
        NativeTool(
            name="pgbench",
            services=("postgres",),
            patterns=("closed", "single_stream", "poisson", "server"),
            per_request=True,
            install="apt-get install postgresql-contrib",
            definitions=(
                "its latency is the time of one execution of its script, with the draw of the key and the parsing of the answer in it",
                "each of its clients sends equally many requests, so a number of requests is rounded to a multiple of the clients",
                "it stamps in whole microseconds of the wall clock, and does not tell when the first byte arrives",
                "a rate is a Poisson process in it; its own latency then counts from the scheduled moment, which we take apart again",
                "a client whose statement fails ends, so its failures are not requests that failed but clients that are missing",
            ),
        ),
        NativeTool(
            name="vllm-bench",
            services=("vllm", "openai"),
            patterns=("closed", "single_stream", "constant", "poisson", "gamma", "server"),
            per_request=True,
            install='pip install "vllm[bench]"',
            definitions=(
                "its time to the first token ends with the first event that has a choice, even without text, such as the role in a chat",
                "its times between events count each event with a choice, even without text, and are near 0 if several arrive together",
                "its latency ends with the last event that has a choice, before the numbers of tokens and the last words of the stream",
                "it is one process, which keeps as many requests in flight as all `num_clients` together",
                "its warm-up is a number of requests: what the rate sends in that time, or in a closed loop two for each one in flight",
                "with a rate, a request is due when its loop hands it over, so it does not see that the loop itself is late",
                "it stretches the gaps of a rate so that their mean is the rate that was asked for",
                "it does not tell when a request failed, so a failure counts as ended when it was sent; it has no timeout of a request",
                "besides our body, it sends `repetition_penalty: 1.0`, or in a chat `max_completion_tokens` and each prompt in a list",
            ),
        ),
    )
}


def tools_of(service: str) -> tuple[NativeTool, ...]:
    """Return the tools that can drive a type of service. The first one is what `native` means."""
    return tuple(tool for tool in TOOLS.values() if service in tool.services)


def drivers_of(service: str) -> tuple[str, ...]:
    """Return what `client.driver` may be for a type of service."""
    return (OURS, *(tool.name for tool in tools_of(service)))


def refuse_what_it_cannot(spec: Asked, service: str) -> None:
    """Check that the driver of a job can do what the job asks for.

    Raises:
        ValueError: it cannot, or there is no such driver for this type of service.
    """
    driver = spec.client.driver
    if driver == OURS:
        return
    if driver not in drivers_of(service):
        raise ValueError(f"`client.driver` is {driver!r:.60}, and a service of the type {service} has: {', '.join(drivers_of(service))}")
    tool = TOOLS[driver]
    if spec.load.pattern not in tool.patterns:
        known = ", ".join(tool.patterns)
        raise ValueError(f"{driver} cannot follow `load.pattern: {spec.load.pattern}`; it knows {known}, and `driver: {OURS}` knows all")
    if spec.load.ramp_up_s:
        raise ValueError(f"{driver} has no ramp-up; leave out `load.ramp_up_s`, and use `warmup.min_s` for a warm-up")
    if why := _LIMITS.get(driver, lambda _spec: "")(spec):
        raise ValueError(f"{why}, or write `driver: {OURS}`")


def _limits_of_redis_benchmark(spec: Asked) -> str:
    settings = spec.client.settings
    if any(len(phase.operations) > 1 for phase in spec.phases):
        return "redis-benchmark sends one operation over and over; write `client.settings.operation_mix: get` or `set`"
    if settings["key_distribution"] != "uniform":
        return "redis-benchmark draws keys uniformly; write `client.settings.key_distribution: uniform`"
    if settings["key_size_bytes"] < PREFIX_AND_DIGITS:
        return f"redis-benchmark draws 12 digits, so with our prefix `client.settings.key_size_bytes` is at least {PREFIX_AND_DIGITS}"
    if settings["value_size_bytes"] > MOST_VALUE_BYTES and any("set" in phase.operations for phase in spec.phases):
        return f"redis-benchmark takes the value as an argument, so `client.settings.value_size_bytes` is at most {MOST_VALUE_BYTES}"
    return ""


def _limits_of_memtier_benchmark(spec: Asked) -> str:
    settings, rate = spec.client.settings, spec.load.rate
    connections = spec.concurrent_clients * spec.num_clients
    fractions = [phase.duration_s for phase in spec.phases if phase.duration_s is not None and phase.duration_s % 1]
    if settings["key_distribution"] != "uniform":
        return "memtier_benchmark weighs keys by another formula for Zipf; write `client.settings.key_distribution: uniform`"
    if settings["key_size_bytes"] <= PREFIX_AND_DIGITS:
        return (
            "memtier_benchmark writes no zeros before a number, so with our prefix and 13 digits "
            f"`client.settings.key_size_bytes` is at least {PREFIX_AND_DIGITS + 1}"
        )
    if not settings["value_size_bytes"]:
        return "memtier_benchmark has no empty values; write `client.settings.value_size_bytes: 1` or more"
    if fractions:
        return f"memtier_benchmark takes whole seconds, and `duration_s` is {fractions[0]:g}; write a whole number"
    if rate is not None and (rate % connections or rate < connections):
        return (
            f"memtier_benchmark limits each connection to a whole number of requests per second, so with {connections} connections "
            f"`rate` is a multiple of {connections}, and not {rate:g}"
        )
    return ""


def _limits_of_vllm_bench(spec: Asked) -> str:
    settings = spec.client.settings
    if any(phase.duration_s is not None for phase in spec.phases):
        return "vllm bench serve takes a number of requests and no time; write `load.count` in place of `duration_s`"
    if not settings["stream"]:
        return "vllm bench serve reads streams only; write `client.settings.stream: true`"
    if not settings["include_usage"]:
        return "vllm bench serve always asks for the numbers of tokens; write `client.settings.include_usage: true`"
    return ""


_LIMITS = {
    "redis-benchmark": _limits_of_redis_benchmark,
    "memtier_benchmark": _limits_of_memtier_benchmark,
    "vllm-bench": _limits_of_vllm_bench,
}
