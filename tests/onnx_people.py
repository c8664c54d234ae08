"""Builds ONNX graphs like those of users: decoders with a cache, detectors, recurrent networks, tables, sklearn pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.onnx_models import save, tensor, weight

FLOAT, INT32, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING
node = helper.make_node


def any_rank(name: str, kind: int) -> onnx.ValueInfoProto:
    """Return a value whose rank is not given in the file."""
    value = onnx.ValueInfoProto()
    value.name = name
    value.type.tensor_type.elem_type = kind
    return value


def ones(*shape: int) -> NDArray[np.float32]:
    return np.full(shape, 0.1, dtype=np.float32)


def ints(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def transformer(path: Path, *, rows: int = 7) -> Path:
    """Build a transformer. Its ids pass a Cast and a Reshape to a table of `rows` rows.

    2 is added to the positions before they index a table of 9 rows.
    """
    nodes = [
        node("Cast", ["input_ids"], ["ids32"], to=INT32),
        node("Reshape", ["ids32", "flat"], ["ids"]),
        node("Gather", ["words", "ids"], ["rows"]),
        node("Shape", ["input_ids"], ["size"]),
        node("Concat", ["size", "four"], ["wide"], axis=0),
        node("Reshape", ["rows", "wide"], ["embedded"]),
        node("Add", ["position_ids", "two"], ["moved"]),
        node("Gather", ["positions", "moved"], ["placed"]),
        node("Gather", ["types", "token_type_ids"], ["typed"]),
        node("Add", ["embedded", "placed"], ["sum"]),
        node("Add", ["sum", "typed"], ["y"]),
    ]
    weights = [
        weight("words", ones(rows, 4)),
        weight("positions", ones(9, 4)),
        weight("types", ones(2, 4)),
        weight("flat", ints(-1)),
        weight("four", ints(4)),
        weight("two", ints(2)),
    ]
    inputs = [tensor(name, INT64, ["batch_size", "sequence_length"]) for name in ("input_ids", "position_ids", "token_type_ids")]
    return save(path, nodes, inputs, [any_rank("y", FLOAT)], weights)


def merged_decoder(path: Path) -> Path:
    """Build a decoder whose boolean chooses between a first step and one with past keys. Each branch uses the table in its own way."""
    first = helper.make_graph([node("Gather", ["table", "input_ids"], ["plain"])], "first", [], [any_rank("plain", FLOAT)])
    cached = helper.make_graph(
        [
            node("Gather", ["table", "input_ids"], ["now"]),
            node("ReduceMean", ["past_key_values.0.key"], ["past"], keepdims=0),
            node("Add", ["now", "past"], ["mixed"]),
        ],
        "cached",
        [],
        [any_rank("mixed", FLOAT)],
    )
    nodes = [
        node("If", ["use_cache_branch"], ["hidden"], then_branch=cached, else_branch=first),
        node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        node("ReduceMean", ["mask"], ["mean"], keepdims=0),
        node("Mul", ["hidden", "mean"], ["logits"]),
    ]
    inputs = [
        tensor("input_ids", INT64, ["batch_size", "sequence_length"]),
        tensor("attention_mask", INT64, ["batch_size", "past_sequence_length + sequence_length"]),
        tensor("past_key_values.0.key", FLOAT, ["batch_size", 2, "past_sequence_length", 4]),
        tensor("use_cache_branch", BOOL, [1]),
    ]
    return save(path, nodes, inputs, [any_rank("logits", FLOAT)], [weight("table", ones(5, 4))], opset=17)


def grouped_decoder(path: Path) -> Path:
    """Build a decoder like those of onnxruntime-genai.

    The length of the cache is the sum of the mask, and the total length is the mask's second size.
    """
    heads, kept, size = 4, 2, 16
    nodes = [
        node("Gather", ["words", "input_ids"], ["x"]),
        node("MatMul", ["x", "wq"], ["q"]),
        node("MatMul", ["x", "wk"], ["k"]),
        node("MatMul", ["x", "wk"], ["v"]),
        node("ReduceSum", ["attention_mask", "axis"], ["sum"], keepdims=0),
        node("Sub", ["sum", "one"], ["before"]),
        node("Cast", ["before"], ["seqlens_k"], to=INT32),
        node("Shape", ["attention_mask"], ["size"]),
        node("Gather", ["size", "one"], ["all"]),
        node("Cast", ["all"], ["total"], to=INT32),
        node(
            "GroupQueryAttention",
            ["q", "k", "v", "past.key", "past.value", "seqlens_k", "total"],
            ["y", "present.key", "present.value"],
            domain="com.microsoft",
            num_heads=heads,
            kv_num_heads=kept,
        ),
    ]
    past = [tensor(f"past.{name}", FLOAT, ["batch_size", kept, "past_sequence_length", size]) for name in ("key", "value")]
    inputs = [
        tensor("input_ids", INT64, ["batch_size", "sequence_length"]),
        tensor("attention_mask", INT64, ["batch_size", "total_sequence_length"]),
        *past,
    ]
    weights = [
        weight("words", ones(40, 32)),
        weight("wq", ones(32, heads * size)),
        weight("wk", ones(32, kept * size)),
        weight("axis", ints(1)),
        weight("one", np.array(1, dtype=np.int64)),
    ]
    outputs = [any_rank(name, FLOAT) for name in ("y", "present.key", "present.value")]
    return save(path, nodes, inputs, outputs, weights, domains=["com.microsoft"], opset=17)


def time_major(path: Path, *, names: tuple[str, str] = ("time", "batch")) -> Path:
    """Build an LSTM whose leading dimension is time. The length of each sequence is an input."""
    inputs = [tensor("x", FLOAT, [*names, 3]), tensor("sequence_lens", INT32, [names[1]])]
    weights = [weight("w", ones(1, 8, 3)), weight("r", ones(1, 8, 2))]
    return save(path, [node("LSTM", ["x", "w", "r", "", "sequence_lens"], ["y"], hidden_size=2)], inputs, [any_rank("y", FLOAT)], weights)


def sorted_lengths(path: Path, *, hidden: bool = False) -> Path:
    """Build a network that sorts sequences by length, as PyTorch packs them. `hidden` makes the size of the sequences unknown."""
    nodes = [
        node("TopK", ["spans", "two"], ["longest", "order"]),
        node("Gather", ["x", "order"], ["sorted"], axis=1),
        node("Cast", ["longest"], ["lens"], to=INT32),
        *(
            [node("Round", ["sorted"], ["plain"]), node("Shrink", ["plain"], ["given"])]
            if hidden
            else [node("Relu", ["sorted"], ["given"])]
        ),
        node("GRU", ["given", "w", "r", "", "lens"], ["y"], hidden_size=2),
    ]
    weights = [weight("w", ones(1, 6, 3)), weight("r", ones(1, 6, 2)), weight("two", ints(2))]
    return save(path, nodes, [tensor("x", FLOAT, ["T", 2, 3]), tensor("spans", INT64, [2])], [any_rank("y", FLOAT)], weights)


def detector(path: Path) -> Path:
    """Build a detector that returns the best k of a variable number of boxes. The thresholds of its NonMaxSuppression are inputs."""
    nodes = [
        node("ReduceMax", ["scores"], ["best"], axes=[1], keepdims=0),
        node("TopK", ["best", "k"], ["top", "places"]),
        node("NonMaxSuppression", ["boxes", "scores", "max_boxes", "iou", "threshold"], ["kept"]),
    ]
    inputs = [
        tensor("boxes", FLOAT, [1, "boxes", 4]),
        tensor("scores", FLOAT, [1, 3, "boxes"]),
        tensor("k", INT64, [1]),
        tensor("max_boxes", INT64, [1]),
        tensor("iou", FLOAT, [1]),
        tensor("threshold", FLOAT, [1]),
    ]
    return save(path, nodes, inputs, [any_rank("top", FLOAT), any_rank("kept", INT64)], opset=17)


def table(path: Path, batch: str, *, rows: int) -> Path:
    """Build a model that looks up one row of a table."""
    inputs = [tensor("ids", INT64, [batch, 1])]
    return save(path, [node("Gather", ["table", "ids"], ["y"])], inputs, [any_rank("y", FLOAT)], [weight("table", ones(rows, 2))])


def top_k(path: Path) -> Path:
    inputs = [tensor("x", FLOAT, ["n", 5]), tensor("k", INT64, [1])]
    return save(path, [node("TopK", ["x", "k"], ["y", "places"])], inputs, [any_rank("y", FLOAT)])


def pipeline(path: Path, *, encode: bool = True) -> Path:
    """Build a pipeline as sklearn-onnx writes it.

    Text columns are joined, split again and encoded strictly, and there is a number beside them.
    """
    cities, colours = ["Paris", "Rome", "Oslo"], ["red", "green"]
    nodes = [
        node("Concat", ["city", "colour"], ["joined"], axis=1),
        node("ArrayFeatureExtractor", ["joined", "zero"], ["c"], domain="ai.onnx.ml"),
        node("ArrayFeatureExtractor", ["joined", "one"], ["d"], domain="ai.onnx.ml"),
        node("OneHotEncoder", ["c"], ["c1"], domain="ai.onnx.ml", cats_strings=cities, zeros=0),
        node("OneHotEncoder", ["d"], ["d1"], domain="ai.onnx.ml", cats_strings=colours, zeros=0),
        node("Flatten", ["c1"], ["c2"]),
        node("Flatten", ["d1"], ["d2"]),
        node("Concat", ["c2", "d2", "age"], ["features"], axis=1),
        node("LinearRegressor", ["features"], ["y"], domain="ai.onnx.ml", coefficients=[0.5] * 6, intercepts=[1.0]),
    ]
    if not encode:
        nodes = [node("StringNormalizer", ["city"], ["y"])]
    inputs = [tensor("city", STRING, [None, 1]), tensor("colour", STRING, [None, 1]), tensor("age", FLOAT, [None, 1])]
    outputs = [any_rank("y", FLOAT if encode else STRING)]
    return save(
        path,
        nodes,
        inputs[: 3 if encode else 1],
        outputs,
        [weight("zero", ints(0)), weight("one", ints(1))],
        domains=["ai.onnx.ml"],
        opset=17,
    )


def numbered_classes(path: Path) -> Path:
    """Build a strict encoder of a whole number, which knows 1, 2 and 3."""
    nodes = [node("OneHotEncoder", ["X"], ["y"], domain="ai.onnx.ml", cats_int64s=[1, 2, 3], zeros=0)]
    return save(path, nodes, [tensor("X", INT64, [None, 1])], [any_rank("y", FLOAT)], domains=["ai.onnx.ml"])


def numbers_as_categories(path: Path) -> Path:
    """Build a model of three floats. One becomes a whole number and one a text, both encoded strictly; the third is only data."""
    nodes = [
        node("ArrayFeatureExtractor", ["X", "zero"], ["a"], domain="ai.onnx.ml"),
        node("Cast", ["a"], ["whole"], to=INT64),
        node("OneHotEncoder", ["whole"], ["x1"], domain="ai.onnx.ml", cats_int64s=[4, 5], zeros=0),
        node("ArrayFeatureExtractor", ["X", "one"], ["b"], domain="ai.onnx.ml"),
        node("Cast", ["b"], ["number"], to=INT64),
        node("Cast", ["number"], ["text"], to=STRING),
        node("OneHotEncoder", ["text"], ["x2"], domain="ai.onnx.ml", cats_strings=["7", "8", "other"], zeros=0),
        node("Concat", ["x1", "x2"], ["y"], axis=2),
    ]
    weights = [weight("zero", ints(0)), weight("one", ints(1))]
    return save(path, nodes, [tensor("X", FLOAT, [None, 3])], [any_rank("y", FLOAT)], weights, domains=["ai.onnx.ml"])


def normalised_text(path: Path) -> Path:
    """Build a model that normalises texts by the rules of a locale that no device has."""
    nodes = [node("StringNormalizer", ["X"], ["y"], case_change_action="LOWER", locale="xx_XX.UTF-8")]
    return save(path, nodes, [tensor("X", STRING, ["n"])], [any_rank("y", STRING)])


def tabular(path: Path) -> Path:
    """Build a model with three columns of whole numbers in one input.

    The first two index tables of 4 and 50 rows. 10 is added to the third, which then indexes a table of 12 rows.
    """
    nodes = [
        node("Split", ["rows", "parts"], ["a", "b", "c"], axis=1),
        node("Gather", ["small", "a"], ["x1"]),
        node("Gather", ["large", "b"], ["x2"]),
        node("Add", ["c", "ten"], ["moved"]),
        node("Gather", ["offset", "moved"], ["x3"]),
        node("Sum", ["x1", "x2", "x3"], ["y"]),
    ]
    weights = [
        weight("parts", ints(1, 1, 1)),
        weight("small", ones(4, 2)),
        weight("large", ones(50, 2)),
        weight("offset", ones(12, 2)),
        weight("ten", ints(10)),
    ]
    return save(path, nodes, [tensor("rows", INT64, ["N", 3])], [any_rank("y", FLOAT)], weights)


def free_image(path: Path) -> Path:
    """Build a convolution without padding. It takes images of any size from 3 × 3 on."""
    weights = [weight("w", ones(2, 3, 3, 3))]
    return save(
        path,
        [node("Conv", ["image", "w"], ["y"])],
        [tensor("image", FLOAT, ["batch", 3, "height", "width"])],
        [any_rank("y", FLOAT)],
        weights,
    )


def unknown_rank(path: Path) -> Path:
    return save(path, [node("Relu", ["x"], ["y"])], [any_rank("x", FLOAT)], [any_rank("y", FLOAT)])


def nothing(path: Path) -> Path:
    """Build a model with an input whose fixed size is 0."""
    return save(
        path,
        [node("Concat", ["x", "more"], ["y"], axis=0)],
        [tensor("x", FLOAT, [0, 4])],
        [any_rank("y", FLOAT)],
        [weight("more", ones(1, 4))],
    )


def loop(path: Path) -> Path:
    """Build a loop that adds x to itself as often as an input says. Its body looks up a row of a table."""
    body = helper.make_graph(
        [node("Identity", ["on"], ["still"]), node("Gather", ["table", "id"], ["row"]), node("Add", ["sum_in", "row"], ["sum_out"])],
        "body",
        [tensor("turn", INT64, []), tensor("on", BOOL, []), tensor("sum_in", FLOAT, [2])],
        [tensor("still", BOOL, []), tensor("sum_out", FLOAT, [2])],
    )
    inputs = [tensor("turns", INT64, []), tensor("id", INT64, []), tensor("x", FLOAT, [2])]
    weights = [weight("table", ones(3, 2))]
    return save(path, [node("Loop", ["turns", "", "x"], ["y"], body=body)], inputs, [any_rank("y", FLOAT)], weights)


def sample_rate(path: Path) -> Path:
    """Build a voice detector that compares its sampling rate with 16 000 and branches on the result."""
    then = helper.make_graph([node("Relu", ["x"], ["a"])], "then", [], [any_rank("a", FLOAT)])
    other = helper.make_graph([node("Neg", ["x"], ["b"])], "else", [], [any_rank("b", FLOAT)])
    nodes = [node("Equal", ["sr", "rate"], ["is16k"]), node("If", ["is16k"], ["y"], then_branch=then, else_branch=other)]
    inputs = [tensor("x", FLOAT, ["batch", "samples"]), tensor("sr", INT64, [])]
    return save(path, nodes, inputs, [any_rank("y", FLOAT)], [weight("rate", np.array(16_000, dtype=np.int64))])


def in_a_function(path: Path) -> Path:
    """Build a model whose lookup is inside a function that the model defines."""
    function = helper.make_function(
        "own", "Embed", ["table", "ids"], ["out"], [node("Gather", ["table", "ids"], ["out"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [node("Embed", ["t", "ids"], ["y"], domain="own")],
        "g",
        [tensor("ids", INT64, ["n"])],
        [any_rank("y", FLOAT)],
        [weight("t", ones(6, 2))],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)], functions=[function], ir_version=9
    )
    path.write_bytes(model.SerializeToString())
    return path


def lookup(path: Path, operator: str) -> Path:
    """Build one operator whose second input indexes a table of 6 × 3."""
    shape: dict[str, list[int | str]] = {"GatherND": ["n", 2], "ScatterND": ["n", 2], "ArrayFeatureExtractor": ["n"]}
    inputs = [tensor("ids", INT64, shape.get(operator, ["n", 3]))]
    names = ["table", "ids"]
    if operator in ("ScatterND", "ScatterElements"):
        inputs.append(tensor("updates", FLOAT, ["n"] if operator == "ScatterND" else ["n", 3]))
        names.append("updates")
    domain = "ai.onnx.ml" if operator == "ArrayFeatureExtractor" else ""
    return save(
        path,
        [node(operator, names, ["y"], domain=domain)],
        inputs,
        [any_rank("y", FLOAT)],
        [weight("table", ones(6, 3))],
        domains=["ai.onnx.ml"],
        opset=17,
    )


def regions(path: Path, operator: str) -> Path:
    """Build a model that cuts regions out of a batch of images.

    `which` says in which image each region lies. For a MaxRoiPool, column 0 of `rois` does.
    """
    inputs = [tensor("images", FLOAT, ["batch", 2, 8, 8]), tensor("rois", FLOAT, ["regions", 5 if operator == "MaxRoiPool" else 4])]
    extra: dict[str, list[int]] = {"pooled_shape": [2, 2]} if operator == "MaxRoiPool" else {}
    if operator != "MaxRoiPool":
        inputs.append(tensor("which", INT64 if operator == "RoiAlign" else TensorProto.INT32, ["regions"]))
    if operator == "CropAndResize":
        inputs.append(tensor("size", TensorProto.INT32, [2]))
    domain = "com.microsoft" if operator == "CropAndResize" else ""
    call = node(operator, [value.name for value in inputs], ["y"], domain=domain, **extra)
    return save(path, [call], inputs, [any_rank("y", FLOAT)], domains=["com.microsoft"], opset=16)


def speech(path: Path) -> Path:
    """Build a recogniser that takes frames and their number: [B, 80, T] and [B]."""
    nodes = [
        node("ReverseSequence", ["turned", "length"], ["y"], time_axis=0, batch_axis=1),
    ]
    nodes.insert(0, node("Transpose", ["audio_signal"], ["turned"], perm=[2, 0, 1]))
    inputs = [tensor("audio_signal", FLOAT, ["B", 80, "T"]), tensor("length", INT64, ["B"])]
    return save(path, nodes, inputs, [any_rank("y", FLOAT)])


def reshaped_by_input(path: Path) -> Path:
    inputs = [tensor("x", FLOAT, [2, 6]), tensor("shape", INT64, [3])]
    return save(path, [node("Reshape", ["x", "shape"], ["y"])], inputs, [any_rank("y", FLOAT)])


def missing_type(path: Path) -> Path:
    """Build a convolution in double precision. The CPU has one in single precision only."""
    x, w = tensor("x", TensorProto.DOUBLE, [1, 1, 4, 4]), weight("w", np.ones((1, 1, 2, 2)))
    return save(path, [node("Conv", ["x", "w"], ["y"])], [x], [any_rank("y", TensorProto.DOUBLE)], [w])
