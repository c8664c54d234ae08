"""Describes the inputs that decide a size: of an output, of a step, how many results are kept, or which axes an operator works on."""

from __future__ import annotations

from collections.abc import Iterator

from worker.engines.onnx_graph.shapes import REDUCTIONS
from worker.engines.onnx_graph.uses.base import Call, Rule, Use, UseRule

MOST_KEPT = 100  # results of a TopK or a NonMaxSuppression, where an input decides their number
WHOLE_AXIS = 2**31 - 1


def _top_k(call: Call) -> Iterator[Use]:
    size = call.size(0, call.node.number("axis", -1))
    because = "it is the k of a TopK" + (f" among {size} values" if size is not None else "")
    yield Use(1, most=size, because=because, steers="is the k of a TopK", rule=1 if size is None else min(size, MOST_KEPT))


def _non_max_suppression(_: Call) -> Iterator[Use]:
    yield Use(2, steers="is the most boxes of a class that a NonMaxSuppression keeps", rule=MOST_KEPT)
    yield Use(3, steers="is the overlap at which a NonMaxSuppression drops a box", rule=0.5)
    yield Use(4, steers="is the score below which a NonMaxSuppression drops a box", rule=0.0)


def _range(_: Call) -> Iterator[Use]:
    yield Use(0, steers="is the start of a Range", rule=0)
    yield Use(1, steers="is the limit of a Range", rule=1)
    yield Use(2, steers="is the step of a Range", rule=1)


def _reshape(call: Call) -> Iterator[Use]:
    shape, rank = call.shape(0), call.size(1, 0)
    same = shape is not None and len(shape) == rank and None not in shape
    rule = tuple(size for size in shape if size is not None) if same and shape is not None else (-1, *[1] * ((rank or 1) - 1))
    yield Use(1, steers="is the shape of a Reshape", rule=rule, partial_rule=1)


def _ones(what: str, place: int) -> UseRule:
    def uses(_: Call) -> Iterator[Use]:
        yield Use(place, steers=what, rule=1)

    return uses


def _slice(call: Call) -> Iterator[Use]:
    axes = tuple(range(call.size(3, 0) or 1))
    yield Use(1, steers="is where a Slice begins", rule=0)
    yield Use(2, steers="is where a Slice ends", rule=WHOLE_AXIS)
    yield Use(3, steers="names the axes of a Slice", rule=axes, partial_rule=0)
    yield Use(4, steers="is the step of a Slice", rule=1)


def _resize(call: Call) -> Iterator[Use]:
    shape = call.shape(0)
    same = tuple(size for size in shape if size is not None) if shape is not None and None not in shape else None
    if call.node.op == "Upsample":
        yield Use(1, steers="scales an Upsample", rule=1.0)
        return
    yield Use(2, steers="scales a Resize", rule=1.0)
    yield Use(3, steers="is the size that a Resize makes", rule=same or 1, partial_rule=1)


def _pad(call: Call) -> Iterator[Use]:
    yield Use(1, steers="is how much a Pad adds", rule=0)
    yield Use(3, steers="names the axes of a Pad", rule=tuple(range(call.size(3, 0) or 1)), partial_rule=0)


def _affine_grid(call: Call) -> Iterator[Use]:
    count = call.size(1, 0) or 4
    yield Use(1, steers="is the size of an AffineGrid", rule=(call.size(0, 0) or 1, *[1] * (count - 1)), partial_rule=1)


def _dft(call: Call) -> Iterator[Use]:
    size = call.size(0, -2)
    yield Use(1, steers="is the length of a DFT", rule=1 if size is None else size)
    yield Use(2, steers="is the axis of a DFT", rule=-2)


def _frames(call: Call) -> Iterator[Use]:
    signal = call.size(0, 1)
    yield Use(1, steers="is the step between the frames of an STFT", rule=1 if signal is None else max(1, signal // 4))
    yield Use(
        3, most=signal, because="it is the length of a frame of an STFT", steers="is the length of a frame of an STFT", rule=signal or 1
    )


def _axes(call: Call) -> Iterator[Use]:
    yield Use(1, steers=f"names the axes of a {call.node.op}", rule=tuple(range(call.size(1, 0) or 1)), partial_rule=0)


def _axis(call: Call) -> Iterator[Use]:
    yield Use(1, steers=f"is the axis of a {call.node.op}", rule=0)


def _crop_or_pad(call: Call) -> Iterator[Use]:
    shape, axes = call.shape(0), call.node.numbers("axes")
    whole = shape is not None and None not in shape and not axes
    rule: Rule = tuple(size for size in shape if size is not None) if whole and shape is not None else 1
    yield Use(1, steers="is the shape that a CenterCropPad makes", rule=rule, partial_rule=1)


def _window(_: Call) -> Iterator[Use]:
    yield Use(0, steers="is the length of a window", rule=16)


def _split(call: Call) -> Iterator[Use]:
    parts, size = call.size(1, 0), call.size(0, call.node.number("axis", 0))
    rule: Rule = 1
    if parts and size is not None:
        rule = (size - (parts - 1) * (size // parts), *[size // parts] * (parts - 1))
    yield Use(1, steers="says how a Split divides", rule=rule, partial_rule=1)


RULES: dict[str, UseRule] = {
    "TopK": _top_k,
    "NonMaxSuppression": _non_max_suppression,
    "Range": _range,
    "Reshape": _reshape,
    "Expand": _ones("is the shape of an Expand", 1),
    "Tile": _ones("says how often a Tile repeats", 1),
    "ConstantOfShape": _ones("is a shape that is filled with a constant", 0),
    "Slice": _slice,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Pad": _pad,
    **dict.fromkeys(("Unsqueeze", "Squeeze"), _axes),
    **dict.fromkeys(REDUCTIONS, _axes),
    **dict.fromkeys(("CumSum", "CumProd"), _axis),
    **dict.fromkeys(("Split", "SplitToSequence"), _split),
    "AffineGrid": _affine_grid,
    "DFT": _dft,
    "STFT": _frames,
    "CenterCropPad": _crop_or_pad,
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow"), _window),
}
