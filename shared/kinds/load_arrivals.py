"""Defines when the requests of a load are sent, and reads it from the sections `load` and `client` of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from shared.services.base import MAX_DURATION_S, MAX_IN_FLIGHT, MAX_RATE, ClientSettings, Phase
from shared.strict import Strict

Pattern = Literal["closed", "constant", "poisson", "gamma", "ramp", "trace", "single_stream", "multi_stream", "server", "offline"]
CLOSED = ("closed", "single_stream")  # the next request is sent when one has ended, so there is no schedule
NUMBERS = {"insert": "num_inserts", "select": "num_selects", "query": "num_queries"}  # the settings that say how often; else this one:
NUM_REQUESTS = "num_requests"
AT_A_RATE = ("constant", "poisson", "gamma", "ramp", "server")


class Arrivals(Strict):
    """Says when requests are sent.

    The presets `single_stream`, `multi_stream`, `server` and `offline` are those of MLPerf.
    """

    pattern: Pattern = "closed"
    rate: float | None = Field(default=None, gt=0, le=MAX_RATE, description="requests per second of all clients together")
    rate_from: float | None = Field(default=None, ge=0, le=MAX_RATE, description="the rate at which a ramp begins; it ends at `rate`")
    burstiness: float = Field(
        default=1.0, gt=0, le=1_000, description="the shape of the gaps of `gamma`: 1 is Poisson, less comes in bursts, more is more even"
    )
    trace_s: tuple[float, ...] | None = Field(
        default=None, min_length=1, max_length=65_536, description="the times at which `trace` sends, in seconds after the begin"
    )
    per_query: int = Field(default=8, ge=1, le=MAX_IN_FLIGHT, description="how many requests `multi_stream` sends at once")
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    ramp_up_s: float = Field(
        default=0.0, ge=0, le=MAX_DURATION_S, description="how long requests at the begin are listed apart and enter no figure, in seconds"
    )


def arrivals_of(load: Any, client: ClientSettings) -> Arrivals:
    """Return when requests are sent.

    Args:
        load: the section `load` of the recipe, or None. Its `pattern` may be None.

    Raises:
        ValueError: two keys contradict each other, or one is missing.
    """
    written: dict[str, Any] = {} if load is None else {name: getattr(load, name) for name in Arrivals.model_fields}
    for name, of_client in (("rate", client.rate), ("seed", client.seed)):
        if of_client is not None:
            if load is not None and name in load.model_fields_set and written[name] != of_client:
                raise ValueError(f"`load.{name}` and `client.settings.{name}` differ; write one of them")
            written[name] = of_client
    rate, pattern = written.get("rate"), written.get("pattern")
    pattern = pattern or ("closed" if rate is None else "constant")
    if pattern in AT_A_RATE and rate is None:
        raise ValueError(f"`load.pattern: {pattern}` needs a `rate`, in requests per second of all clients together")
    if pattern not in AT_A_RATE and rate is not None:
        raise ValueError(f"`rate` has no effect with `load.pattern: {pattern}`; leave it out, or choose one of: {', '.join(AT_A_RATE)}")
    if (pattern == "trace") != (written.get("trace_s") is not None):
        raise ValueError("`load.pattern: trace` and `load.trace_s`, the times at which requests are sent, belong together")
    if wrong := [at for at in written.get("trace_s") or () if not 0 <= at <= MAX_DURATION_S]:
        raise ValueError(f"`load.trace_s` has {wrong[0]:g}; each time is a number of seconds from 0 to {MAX_DURATION_S:g} after the begin")
    if pattern == "single_stream" and client.concurrent_clients != 1:
        raise ValueError("`load.pattern: single_stream` has one request in flight; write `closed` for more")
    return Arrivals(**{**written, "pattern": pattern})


def amount_of(load: Any, client: ClientSettings) -> tuple[int | None, float | None]:
    """Return how many requests each repeat sends, and for how long: at most one of the two is set. See `arrivals_of`.

    Raises:
        ValueError: the recipe says both.
    """
    count = load.count if load is not None else None
    durations = {one for one in (load.duration_s if load is not None else None, client.duration_s) if one is not None}
    if len(durations) > 1:
        raise ValueError("`load.duration_s` and `client.settings.duration_s` differ; write one of them")
    if durations and count is not None:
        raise ValueError("a repeat ends after `load.count` requests or after `duration_s` seconds; leave one of them out")
    return count, next(iter(durations), None)


def whole_trace(times: int, phases: Sequence[Phase], client: ClientSettings) -> tuple[Phase, ...]:
    """Return the phases with as many requests as a trace has times, unless the recipe says a number.

    The insert of vectors stays as it is: it follows no schedule.
    """

    def follows(phase: Phase) -> bool:
        setting = NUMBERS.get(phase.name, NUM_REQUESTS)
        return hasattr(client, setting) and setting not in client.model_fields_set

    return tuple(phase.model_copy(update={"count": times}) if follows(phase) else phase for phase in phases)


def not_sent(load: Any, client: ClientSettings) -> str:
    """Return which times of a trace a number of requests or a duration leaves out, in words. Empty if all of them are sent.

    Args:
        load: the section `load` of the recipe, with a `trace_s`.
    """
    times = len(load.trace_s)
    count, duration_s = amount_of(load, client)
    if duration_s is not None:
        late = sum(at >= duration_s for at in load.trace_s)
        return (
            f"`duration_s: {duration_s:g}` leaves out the {late} of the {times} times of `load.trace_s` that are not below it"
            if late
            else ""
        )
    written = {"load.count": count} if count is not None else {}
    if not written:
        settings = {name: getattr(client, name) for name in (NUM_REQUESTS, *NUMBERS.values()) if name in client.model_fields_set}
        written = {f"client.settings.{name}": number for name, number in settings.items() if number}
    fewer = next((f"`{name}: {number}`" for name, number in written.items() if number < times), "")
    return f"{fewer} leaves out the later ones of the {times} times of `load.trace_s`" if fewer else ""
