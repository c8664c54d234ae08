"""Describes what each operator requires of its inputs, such as an index below a table's rows or a length within a sequence.

There is one function for each family of operators. `Use` is what a node requires of one value. `limits` derives from it what the
model's inputs may hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker.engines.onnx_graph.model import Node
from worker.engines.onnx_graph.shapes import REDUCTIONS, MaybeInts, MaybeShape, axis_size

Rule = bool | int | float | tuple[int, ...]

MOST_KEPT = 100  # results of a TopK or a NonMaxSuppression, where an input decides their number
NEW_TOKENS = 16  # how many tokens a search within the graph adds to its prompt
WHOLE_AXIS = 2**31 - 1


@dataclass(frozen=True)
class Use:
    """Describes what a node requires of its input number `place`.

    Attributes:
        rows: The value indexes a table with this many rows.
        most: The largest value that the node accepts.
        because: The reason, as the end of a sentence.
        steers: What the value decides. Empty for ordinary data.
        rule: The value to use when the recipe states none.
        partial_rule: The same, if the value is only a part of the node's input.
        by_comparison: Use the number that the value was compared with, if there was one, in place of `rule`.
        is_length: Whether the value holds lengths of a sequence.
        words: The texts or numbers that the node knows.
        columns: The number of rows for each position along the value's last axis.
    """

    place: int
    rows: int | None = None
    most: int | None = None
    because: str = ""
    steers: str = ""
    rule: Rule | None = None
    partial_rule: Rule | None = None
    by_comparison: bool = False
    is_length: bool = False
    words: tuple[str | int, ...] = ()
    columns: tuple[int | None, ...] = ()


class Call:
    """Combines a node with what is known of its inputs."""

    def __init__(self, node: Node, shapes: list[MaybeShape], ints: list[MaybeInts]) -> None:
        self.node, self._shapes, self._ints = node, shapes, ints

    def shape(self, place: int) -> MaybeShape:
        return self._shapes[place] if place < len(self._shapes) else None

    def size(self, place: int, axis: int) -> int | None:
        return axis_size(self.shape(place), axis)

    def ints(self, place: int) -> MaybeInts:
        return self._ints[place] if place < len(self._ints) else None


def uses_of(call: Call) -> Iterator[Use]:
    """Yield what a node requires of its inputs. Yields nothing for an operator whose inputs may hold any values."""
    rule = _RULES.get(call.node.op)
    if rule is not None:
        yield from rule(call)


def _table(place: int, rows: int | None) -> Use:
    return Use(place, rows=rows)


def _gather(call: Call) -> Iterator[Use]:
    axis = call.node.number("gather_axis", 0) if call.node.op == "GatherBlockQuantized" else call.node.number("axis", 0)
    yield _table(1, call.size(0, axis))


def _gather_nd(call: Call) -> Iterator[Use]:
    data, last = call.shape(0), call.size(1, -1)
    first = call.node.number("batch_dims", 0)
    if data is not None and last is not None:
        sizes = data[first : first + last]
        known = [size for size in sizes if size is not None]
        yield Use(1, rows=min(known) if known else None, columns=tuple(sizes))


def _array_feature_extractor(call: Call) -> Iterator[Use]:
    yield _table(1, call.size(0, -1))


def _embed_layer_normalization(call: Call) -> Iterator[Use]:
    yield _table(0, call.size(2, 0))
    yield _table(1, call.size(4, 0))
    yield _table(8, call.size(3, 0))


def _rotary_embedding(call: Call) -> Iterator[Use]:
    if call.node.domain:  # com.microsoft: input, position_ids, cos_cache, sin_cache
        yield _table(1, call.size(2, 0))
    else:
        yield _table(3, call.size(1, 0))


def _recurrent(call: Call) -> Iterator[Use]:
    yield _length(4, call.size(0, 1 if call.node.number("layout", 0) else 0))


def _reverse_sequence(call: Call) -> Iterator[Use]:
    yield _length(1, call.size(0, call.node.number("time_axis", 0)))


def _length(place: int, steps: int | None) -> Use:
    because = "it is the length of a sequence" + (f" of {steps} steps" if steps is not None else "")
    return Use(place, most=steps, because=because, rule=steps, is_length=True)


def _top_k(call: Call) -> Iterator[Use]:
    size = call.size(0, call.node.number("axis", -1))
    because = "it is the k of a TopK" + (f" among {size} values" if size is not None else "")
    yield Use(1, most=size, because=because, steers="is the k of a TopK", rule=1 if size is None else min(size, MOST_KEPT))


def _non_max_suppression(_: Call) -> Iterator[Use]:
    yield Use(2, steers="is the most boxes of a class that a NonMaxSuppression keeps", rule=MOST_KEPT)
    yield Use(3, steers="is the overlap at which a NonMaxSuppression drops a box", rule=0.5)
    yield Use(4, steers="is the score below which a NonMaxSuppression drops a box", rule=0.0)


def _if(_: Call) -> Iterator[Use]:
    yield Use(0, steers="chooses the branch of an If", rule=False, by_comparison=True)


def _loop(_: Call) -> Iterator[Use]:
    yield Use(0, steers="says how often a Loop runs", rule=1)
    yield Use(1, steers="says whether a Loop runs at all", rule=True)


def _range(_: Call) -> Iterator[Use]:
    yield Use(0, steers="is the start of a Range", rule=0)
    yield Use(1, steers="is the limit of a Range", rule=1)
    yield Use(2, steers="is the step of a Range", rule=1)


def _reshape(call: Call) -> Iterator[Use]:
    shape, rank = call.shape(0), call.size(1, 0)
    same = shape is not None and len(shape) == rank and None not in shape
    rule = tuple(size for size in shape if size is not None) if same and shape is not None else (-1, *[1] * ((rank or 1) - 1))
    yield Use(1, steers="is the shape of a Reshape", rule=rule, partial_rule=1)


def _ones(what: str, place: int) -> Callable[[Call], Iterator[Use]]:
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


def _loss(call: Call) -> Iterator[Use]:
    """Yield the limit of the target classes: each is below the number of classes."""
    yield _table(1, call.size(0, 1))


def _max_unpool(call: Call) -> Iterator[Use]:
    shape = call.shape(0)
    if shape is not None and None not in shape:
        yield _table(1, math.prod(size for size in shape if size is not None))  # the unpooled plane is at least as large


def _affine_grid(call: Call) -> Iterator[Use]:
    count = call.size(1, 0) or 4
    yield Use(1, steers="is the size of an AffineGrid", rule=(call.size(0, 0) or 1, *[1] * (count - 1)), partial_rule=1)


def _attention(call: Call) -> Iterator[Use]:
    if not call.node.domain:  # the operator of com.microsoft has other inputs
        yield _length(6, call.size(1, -2))


def _dft(call: Call) -> Iterator[Use]:
    size = call.size(0, -2)
    yield Use(1, steers="is the length of a DFT", rule=1 if size is None else size)
    yield Use(2, steers="is the axis of a DFT", rule=-2)


def _axes(call: Call) -> Iterator[Use]:
    yield Use(1, steers=f"names the axes of a {call.node.op}", rule=tuple(range(call.size(1, 0) or 1)), partial_rule=0)


def _axis(call: Call) -> Iterator[Use]:
    yield Use(1, steers=f"is the axis of a {call.node.op}", rule=0)


def _regions(call: Call) -> Iterator[Use]:
    """Yield the limits of an operator that cuts regions out of a batch of images: which image each region lies in."""
    images = call.size(0, 0)
    if call.node.op == "MaxRoiPool":  # each region is the number of its image and four corners
        yield Use(1, columns=(images, None, None, None, None))
        return
    yield _table(2, images)
    if call.node.op == "CropAndResize":
        yield Use(3, steers="is the size that a CropAndResize makes", rule=1)


def _sequence_place(call: Call) -> Iterator[Use]:
    yield Use(2 if call.node.op == "SequenceInsert" else 1, steers="is a place in a sequence", rule=0)


def _crop_or_pad(call: Call) -> Iterator[Use]:
    shape, axes = call.shape(0), call.node.numbers("axes")
    whole = shape is not None and None not in shape and not axes
    rule: Rule = tuple(size for size in shape if size is not None) if whole and shape is not None else 1
    yield Use(1, steers="is the shape that a CenterCropPad makes", rule=rule, partial_rule=1)


def _frames(call: Call) -> Iterator[Use]:
    signal = call.size(0, 1)
    yield Use(1, steers="is the step between the frames of an STFT", rule=1 if signal is None else max(1, signal // 4))
    yield Use(
        3, most=signal, because="it is the length of a frame of an STFT", steers="is the length of a frame of an STFT", rule=signal or 1
    )


def _write_indices(_: Call) -> Iterator[Use]:
    yield Use(2, because="it is where a TensorScatter writes", rule=0)


def _window(_: Call) -> Iterator[Use]:
    yield Use(0, steers="is the length of a window", rule=16)


def _split(call: Call) -> Iterator[Use]:
    parts, size = call.size(1, 0), call.size(0, call.node.number("axis", 0))
    rule: Rule = 1
    if parts and size is not None:
        rule = (size - (parts - 1) * (size // parts), *[size // parts] * (parts - 1))
    yield Use(1, steers="says how a Split divides", rule=rule, partial_rule=1)


def _one_hot(call: Call) -> Iterator[Use]:
    depth = call.ints(1)
    yield _table(0, depth[0] if depth else None)
    yield Use(1, steers="is the number of classes of a OneHot", rule=1)


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


def _grouped_attention(call: Call) -> Iterator[Use]:
    past, now = call.size(3, 2), call.size(0, 1)
    total = (past or 0) + (now or 1)
    yield Use(5, most=total - 1, because="it counts the tokens before the last one", rule=total - 1)
    yield Use(6, steers="is the number of tokens of an attention", rule=total)


def _encoder(call: Call) -> Iterator[Use]:
    """Yield the texts or numbers that an operator of ai.onnx.ml knows. A OneHotEncoder whose `zeros` is 0 refuses all others."""
    node = call.node
    texts: list[str] = []
    for name in ("cats_strings", "keys_strings", "classes_strings", "pool_strings", "string_vocabulary"):
        texts += node.texts(name)
    tensor = node.tensor("keys_tensor")
    if tensor is not None and tensor.texts:
        texts += tensor.texts
    numbers = node.numbers("cats_int64s") or node.numbers("keys_int64s")
    yield Use(0, words=tuple(texts or numbers), because=f"a {node.op} knows them")


_RULES: dict[str, Callable[[Call], Iterator[Use]]] = {
    **dict.fromkeys(("Gather", "GatherElements", "ScatterElements", "Scatter", "GatherBlockQuantized"), _gather),
    **dict.fromkeys(("GatherND", "ScatterND"), _gather_nd),
    "ArrayFeatureExtractor": _array_feature_extractor,
    "EmbedLayerNormalization": _embed_layer_normalization,
    "QEmbedLayerNormalization": _embed_layer_normalization,
    "RotaryEmbedding": _rotary_embedding,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
    "ReverseSequence": _reverse_sequence,
    "TopK": _top_k,
    "NonMaxSuppression": _non_max_suppression,
    "If": _if,
    "Loop": _loop,
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
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _loss),
    "MaxUnpool": _max_unpool,
    "AffineGrid": _affine_grid,
    "Attention": _attention,
    "DFT": _dft,
    "STFT": _frames,
    "CenterCropPad": _crop_or_pad,
    **dict.fromkeys(("RoiAlign", "MaxRoiPool", "CropAndResize"), _regions),
    **dict.fromkeys(("SequenceAt", "SequenceErase", "SequenceInsert"), _sequence_place),
    "TensorScatter": _write_indices,
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow"), _window),
    "OneHot": _one_hot,
    "Dropout": _dropout,
    **dict.fromkeys(("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"), _search),
    "GroupQueryAttention": _grouped_attention,
    **dict.fromkeys(("OneHotEncoder", "LabelEncoder", "CategoryMapper", "TfIdfVectorizer", "DictVectorizer"), _encoder),
}
