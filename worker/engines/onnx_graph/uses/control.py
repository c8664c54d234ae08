"""Describes the inputs that decide what is calculated: the branch of an If, the turns of a Loop, the settings of a search."""

from __future__ import annotations

from collections.abc import Iterator

from worker.engines.onnx_graph.uses.base import Call, Use, UseRule

NEW_TOKENS = 16  # how many tokens a search within the graph adds to its prompt


def _if(_: Call) -> Iterator[Use]:
    yield Use(0, steers="chooses the branch of an If", rule=False, by_comparison=True)


def _loop(_: Call) -> Iterator[Use]:
    yield Use(0, steers="says how often a Loop runs", rule=1)
    yield Use(1, steers="says whether a Loop runs at all", rule=True)


def _dropout(_: Call) -> Iterator[Use]:
    yield Use(1, steers="is the ratio of a Dropout", rule=0.5)
    yield Use(2, steers="turns training on in a Dropout", rule=False)


def _search(call: Call) -> Iterator[Use]:
    """Yield the inputs of a token search within the graph: BeamSearch, GreedySearch, Sampling and WhisperBeamSearch of com.microsoft."""
    prompt = call.size(0, 1)
    beams = "Beam" in call.node.op
    yield Use(1, steers="is the most tokens of a search", rule=(prompt or NEW_TOKENS) + NEW_TOKENS)
    yield Use(2, steers="is the fewest tokens of a search", rule=0)
    if beams:
        yield Use(3, steers="is the number of beams of a search", rule=1)
        yield Use(4, steers="is the number of texts that a search gives", rule=1)
        yield Use(5, steers="is the length penalty of a search", rule=1.0)
    yield Use(6 if beams else 3, steers="is the repetition penalty of a search", rule=1.0)


RULES: dict[str, UseRule] = {
    "If": _if,
    "Loop": _loop,
    "Dropout": _dropout,
    **dict.fromkeys(("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"), _search),
}
