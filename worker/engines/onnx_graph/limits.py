"""Derives the values that each input may hold from what the operators require."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from worker.engines.base import Limits
from worker.engines.onnx_graph.flow import Flow
from worker.engines.onnx_graph.model import Node, Shape, TooLarge, open_model, read_inputs
from worker.engines.onnx_graph.traces import Origin, Trace
from worker.engines.onnx_graph.uses import Use
from worker.engines.onnx_graph.wire import NotProtobuf

Warn = Callable[[str], None]
MOST_NAMED = 5  # at most so many nodes that could not be analysed are named one by one; a defect may concern each of 10 000 nodes


def input_shapes(path: Path, warn: Warn) -> dict[str, Shape | None]:
    """Return the shape of each input as the file states it, None for an unknown rank. Empty if the file cannot be read."""
    try:
        return {value.name: value.shape for value in read_inputs(path)}
    except NotProtobuf:
        return {}
    except Exception as error:  # noqa: BLE001 - the runtime has opened this file, so the job can go on without our reading of it
        warn(f"the shapes in the model's file could not be read ({_shown(error)})")
        return {}


def input_limits(path: Path, shapes: Mapping[str, tuple[int, ...]], warn: Warn) -> dict[str, Limits]:
    """Return what the graph allows for each input. Empty if the graph is too large to follow or cannot be read.

    Args:
        warn: Called with a sentence about each part of the graph whose analysis failed. Nothing is known of that part then.
    """
    try:
        return _limits_of_inputs(path, shapes, warn)
    except (NotProtobuf, TooLarge):
        return {}
    except Exception as error:  # noqa: BLE001 - the runtime has opened this file, so the job can go on without the limits
        warn(f"what the model accepts could not be found out ({_shown(error)}): inputs without stated values were filled by rule")
        return {}


def _limits_of_inputs(path: Path, shapes: Mapping[str, tuple[int, ...]], warn: Warn) -> dict[str, Limits]:
    found: dict[str, dict[int | None, Limits]] = defaultdict(dict)
    failed: list[str] = []

    def not_followed(node: Node, error: Exception) -> None:
        failed.append(f"{node.op} {node.name!r} ({_shown(error)})" if node.name else f"a {node.op} ({_shown(error)})")

    with open_model(path) as model:
        if model is None:
            return {}
        for use, trace in Flow(model, shapes, not_followed).run():
            for origin, limits in _limits(use, trace):
                known = found[origin.input].get(origin.column)
                found[origin.input][origin.column] = limits if known is None else _both(known, limits)
    if failed:
        more = f" and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
        warn(
            f"what the model accepts could not be followed through {', '.join(failed[:MOST_NAMED])}{more}: "
            "values that depend on it were filled by rule; state them in options.values if they do not fit"
        )
    return {name: _of_input(by_column) for name, by_column in found.items()}


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _of_input(by_column: Mapping[int | None, Limits]) -> Limits:
    columns = {column: limits for column, limits in by_column.items() if column is not None}
    whole = by_column.get(None)
    if whole is None:
        strictest = Limits()
        for limits in columns.values():
            strictest = _both(strictest, replace(limits, high=None, low=None, because="", words=()))
        whole = strictest
    own = {column: _both(whole, limits) for column, limits in columns.items() if limits.high is not None or limits.words}
    return replace(whole, columns=own)


def _limits(use: Use, trace: Trace) -> Iterable[tuple[Origin, Limits]]:
    if trace.columns is not None and use.columns:
        for rows, origins in zip(use.columns, trace.columns, strict=False):
            for origin in origins:
                yield origin, _of_rows(rows, origin)
        return
    origins = trace.origins if trace.columns is None else frozenset().union(*trace.columns) if _splits(trace, use) else trace.origins
    for origin in origins:
        yield origin, _one(use, origin)


def _splits(trace: Trace, use: Use) -> bool:
    """Return whether the columns of a value come from different places, so that each column gets its own limits."""
    return not any(origin.whole for origin in trace.origins) and not use.steers


def _one(use: Use, origin: Origin) -> Limits:
    if use.rows is not None:
        return _of_rows(use.rows, origin)
    rule = use.rule if origin.whole or use.partial_rule is None else use.partial_rule
    if use.by_comparison and origin.compared is not None:
        rule = origin.compared
    most = None if use.most is None else (use.most - origin.high) // origin.scale
    low = 0 if use.most is not None else None
    return Limits(low=low, high=most, because=use.because, rule=rule, is_length=use.is_length, steers=use.steers, words=use.words)


def _of_rows(rows: int | None, origin: Origin) -> Limits:
    if rows is None:
        return Limits()
    low = -(origin.low // origin.scale) if origin.low else 0
    return Limits(low=low, high=(rows - 1 - origin.high) // origin.scale, because=f"it indexes a table of {rows} rows")


def _both(one: Limits, other: Limits) -> Limits:
    """Return limits that satisfy two uses of the same input. A rule for a value that steers the model takes precedence over other rules."""
    low = one.low if other.low is None else other.low if one.low is None else max(one.low, other.low)
    stricter = other if one.high is None or (other.high is not None and other.high < one.high) else one
    because = stricter.because or one.because or other.because
    decides = one if one.rule is not None and (one.steers or not other.steers) else other
    words = tuple(word for word in one.words if word in other.words) or one.words or other.words
    return Limits(low, stricter.high, because, words, decides.rule, one.is_length or other.is_length, one.steers or other.steers)
