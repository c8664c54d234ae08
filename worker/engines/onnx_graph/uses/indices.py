"""Describes the inputs that point into something: rows of a table, lengths of a sequence, words that an operator knows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from worker.engines.onnx_graph.uses.base import Call, Use, UseRule, length, table


def _gather(call: Call) -> Iterator[Use]:
    axis = call.node.number("gather_axis", 0) if call.node.op == "GatherBlockQuantized" else call.node.number("axis", 0)
    yield table(1, call.size(0, axis))


def _gather_nd(call: Call) -> Iterator[Use]:
    data, last = call.shape(0), call.size(1, -1)
    first = call.node.number("batch_dims", 0)
    if data is not None and last is not None:
        sizes = data[first : first + last]
        known = [size for size in sizes if size is not None]
        yield Use(1, rows=min(known) if known else None, columns=tuple(sizes))


def _array_feature_extractor(call: Call) -> Iterator[Use]:
    yield table(1, call.size(0, -1))


def _embed_layer_normalization(call: Call) -> Iterator[Use]:
    yield table(0, call.size(2, 0))
    yield table(1, call.size(4, 0))
    yield table(8, call.size(3, 0))


def _rotary_embedding(call: Call) -> Iterator[Use]:
    if call.node.domain:  # com.microsoft: input, position_ids, cos_cache, sin_cache
        yield table(1, call.size(2, 0))
    else:
        yield table(3, call.size(1, 0))


def _recurrent(call: Call) -> Iterator[Use]:
    yield length(4, call.size(0, 1 if call.node.number("layout", 0) else 0))


def _reverse_sequence(call: Call) -> Iterator[Use]:
    yield length(1, call.size(0, call.node.number("time_axis", 0)))


def _loss(call: Call) -> Iterator[Use]:
    """Yield the limit of the target classes: each is below the number of classes."""
    yield table(1, call.size(0, 1))


def _max_unpool(call: Call) -> Iterator[Use]:
    shape = call.shape(0)
    if shape is not None and None not in shape:
        yield table(1, math.prod(size for size in shape if size is not None))  # the unpooled plane is at least as large


def _attention(call: Call) -> Iterator[Use]:
    if not call.node.domain:  # the operator of com.microsoft has other inputs
        yield length(6, call.size(1, -2))


def _grouped_attention(call: Call) -> Iterator[Use]:
    past, now = call.size(3, 2), call.size(0, 1)
    total = (past or 0) + (now or 1)
    yield Use(5, most=total - 1, because="it counts the tokens before the last one", rule=total - 1)
    yield Use(6, steers="is the number of tokens of an attention", rule=total)


def _regions(call: Call) -> Iterator[Use]:
    """Yield the limits of an operator that cuts regions out of a batch of images: which image each region lies in."""
    images = call.size(0, 0)
    if call.node.op == "MaxRoiPool":  # each region is the number of its image and four corners
        yield Use(1, columns=(images, None, None, None, None))
        return
    yield table(2, images)
    if call.node.op == "CropAndResize":
        yield Use(3, steers="is the size that a CropAndResize makes", rule=1)


def _one_hot(call: Call) -> Iterator[Use]:
    depth = call.ints(1)
    yield table(0, depth[0] if depth else None)
    yield Use(1, steers="is the number of classes of a OneHot", rule=1)


def _write_indices(_: Call) -> Iterator[Use]:
    yield Use(2, because="it is where a TensorScatter writes", rule=0)


def _sequence_place(call: Call) -> Iterator[Use]:
    yield Use(2 if call.node.op == "SequenceInsert" else 1, steers="is a place in a sequence", rule=0)


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


RULES: dict[str, UseRule] = {
    **dict.fromkeys(("Gather", "GatherElements", "ScatterElements", "Scatter", "GatherBlockQuantized"), _gather),
    **dict.fromkeys(("GatherND", "ScatterND"), _gather_nd),
    "ArrayFeatureExtractor": _array_feature_extractor,
    "EmbedLayerNormalization": _embed_layer_normalization,
    "QEmbedLayerNormalization": _embed_layer_normalization,
    "RotaryEmbedding": _rotary_embedding,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrent),
    "ReverseSequence": _reverse_sequence,
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _loss),
    "MaxUnpool": _max_unpool,
    "Attention": _attention,
    **dict.fromkeys(("RoiAlign", "MaxRoiPool", "CropAndResize"), _regions),
    **dict.fromkeys(("SequenceAt", "SequenceErase", "SequenceInsert"), _sequence_place),
    "TensorScatter": _write_indices,
    "OneHot": _one_hot,
    "GroupQueryAttention": _grouped_attention,
    **dict.fromkeys(("OneHotEncoder", "LabelEncoder", "CategoryMapper", "TfIdfVectorizer", "DictVectorizer"), _encoder),
}
