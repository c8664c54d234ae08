"""Tests the limits of inputs that follow from the graph. The real runtime runs each model here with the values that are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from shared.errors import ModelInvalid
from tests import onnx_people as people
from tests.measuring import LIGHT_MODELS
from tests.onnx_models import identity, save, tensor, weight
from worker.engines.base import Limits, Options
from worker.engines.inputs import Inputs, make_inputs
from worker.engines.onnx import OnnxEngine
from worker.engines.onnx_graph import shapes
from worker.engines.onnx_graph.limits import input_limits, input_shapes
from worker.engines.onnx_graph.model import open_model
from worker.engines.onnx_graph.shapes import infer


def warned(warning: str) -> None:
    pytest.fail(warning)


def run(path: Path, **options: object) -> tuple[Inputs, list[np.ndarray]]:
    engine, given = OnnxEngine(), Options(**options)  # type: ignore[arg-type]
    engine.load(path, given, "cpu.onnx")
    inputs = make_inputs(engine, given, path.parent)
    outputs = engine.bind(inputs.arrays)()
    assert isinstance(outputs, list)
    return inputs, outputs


def test_ids_are_followed_through_casts_reshapes_and_offsets_to_their_tables(tmp_path: Path) -> None:
    inputs, outputs = run(people.transformer(tmp_path / "t.onnx"), batch_size=20, dims={"sequence_length": 9})
    assert set(inputs.arrays["input_ids"].ravel().tolist()) == set(range(7))
    assert inputs.arrays["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 6]  # the graph adds 2 more, and the table has 9 rows
    assert outputs[0].shape == (20, 9, 4)


def test_a_merged_decoder_runs_each_of_its_branches_as_stated(tmp_path: Path) -> None:
    path = people.merged_decoder(tmp_path / "d.onnx")
    inputs, _ = run(path, batch_size=30, dims={"past_sequence_length": 0, "sequence_length": 3}, values={"use_cache_branch": False})
    assert inputs.arrays["past_key_values.0.key"].shape == (30, 2, 0, 4)
    assert set(inputs.arrays["input_ids"].ravel().tolist()) == {0, 1, 2, 3, 4}
    _, (with_cache,) = run(path, dims={"past_sequence_length": 5}, values={"use_cache_branch": True})
    _, (without,) = run(path, dims={"past_sequence_length": 5}, values={"use_cache_branch": False})
    assert with_cache.mean() > without.mean()
    inputs, (by_rule,) = run(path, dims={"past_sequence_length": 5})
    assert inputs.filled["use_cache_branch"] == "false by rule, since it chooses the branch of an If"
    assert np.array_equal(by_rule, without)
    assert any("it chooses the branch of an If; state it: options.values: {use_cache_branch: …}" in said for said in inputs.warnings)


@pytest.mark.parametrize(("past", "now"), [(0, 16), (5, 1), (20, 1)])
def test_a_decoder_with_grouped_attention_runs_at_every_length_of_its_cache(past: int, now: int, tmp_path: Path) -> None:
    dims = {"past_sequence_length": past, "sequence_length": now}
    inputs, outputs = run(people.grouped_decoder(tmp_path / "d.onnx"), batch_size=2, dims=dims)
    assert inputs.arrays["attention_mask"].tolist() == [[1] * (past + now)] * 2
    assert outputs[1].shape == (2, 2, past + now, 16)


def test_a_time_major_lstm_has_its_batch_and_lengths_within_its_sequence(tmp_path: Path) -> None:
    inputs, outputs = run(people.time_major(tmp_path / "l.onnx"), batch_size=4, dims={"time": 9})
    assert inputs.arrays["x"].shape == (9, 4, 3)
    assert inputs.arrays["sequence_lens"].tolist() == [9, 9, 9, 9]
    assert outputs[0].shape == (9, 1, 4, 2)


def test_lengths_that_are_sorted_first_stay_within_the_sequence(tmp_path: Path) -> None:
    for hidden, how in (
        (False, "9 by rule, since it is the length of a sequence of 9 steps"),
        (True, "all 9, as the length of the sequence"),
    ):
        inputs, _ = run(people.sorted_lengths(tmp_path / "g.onnx", hidden=hidden), dims={"T": 9})
        assert inputs.arrays["spans"].tolist() == [9, 9]
        assert inputs.filled["spans"] == how


def test_a_detector_keeps_as_many_as_it_has(tmp_path: Path) -> None:
    for boxes, kept in ((1, 1), (50, 50), (300, 100)):
        inputs, outputs = run(people.detector(tmp_path / "d.onnx"), dims={"boxes": boxes})
        assert inputs.arrays["k"].tolist() == [kept]
        assert outputs[0].shape == (1, kept)
    assert inputs.arrays["iou"].tolist() == [0.5]


def test_a_pipeline_of_texts_is_given_categories_that_each_of_its_columns_knows(tmp_path: Path) -> None:
    inputs, outputs = run(people.pipeline(tmp_path / "p.onnx"), batch_size=60)
    assert set(inputs.arrays["city"].ravel()) == {"Paris", "Rome", "Oslo"}
    assert set(inputs.arrays["colour"].ravel()) == {"red", "green"}
    assert outputs[0].shape == (60, 1)


def test_numbers_that_are_encoded_strictly_are_those_that_the_encoder_knows(tmp_path: Path) -> None:
    inputs, _ = run(people.numbered_classes(tmp_path / "n.onnx"), batch_size=60)
    assert set(inputs.arrays["X"].ravel().tolist()) == {1, 2, 3}


def test_floats_that_become_categories_are_whole_numbers_that_are_known(tmp_path: Path) -> None:
    inputs, _ = run(people.numbers_as_categories(tmp_path / "f.onnx"), batch_size=60)
    rows = inputs.arrays["X"]
    assert set(rows[:, 0].tolist()) == {4.0, 5.0}
    assert set(rows[:, 1].tolist()) == {7.0, 8.0}
    assert len(set(rows[:, 2].tolist())) == 60
    assert rows[:, 2].max() < 1


def test_columns_of_one_input_stay_within_the_table_of_each(tmp_path: Path) -> None:
    inputs, _ = run(people.tabular(tmp_path / "t.onnx"), batch_size=400)
    rows = inputs.arrays["rows"]
    assert set(rows[:, 0].tolist()) == set(range(4))
    assert 40 < rows[:, 1].max() < 50
    assert set(rows[:, 2].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("operator", "highest"),
    [
        ("GatherND", [5, 2]),
        ("ScatterND", [5, 2]),
        ("GatherElements", [5, 5, 5]),
        ("ScatterElements", [5, 5, 5]),
        ("ArrayFeatureExtractor", [2]),
    ],
)
def test_each_operator_that_indexes_is_kept_within_its_table(operator: str, highest: list[int], tmp_path: Path) -> None:
    inputs, _ = run(people.lookup(tmp_path / "x.onnx", operator), dims={"n": 200})
    ids = inputs.arrays["ids"]
    assert np.atleast_1d(ids.max(axis=0) if ids.ndim > 1 else ids.max()).tolist() == highest
    assert ids.min() == 0


@pytest.mark.parametrize("operator", ["RoiAlign", "MaxRoiPool", "CropAndResize"])
def test_regions_lie_in_images_of_the_batch(operator: str, tmp_path: Path) -> None:
    inputs, _ = run(people.regions(tmp_path / "r.onnx", operator), dims={"batch": 3, "regions": 60})
    which = inputs.arrays["rois"][:, 0] if operator == "MaxRoiPool" else inputs.arrays["which"]
    assert set(which.tolist()) == {0, 1, 2}


def test_a_loop_runs_once_by_rule_and_its_body_is_followed(tmp_path: Path) -> None:
    inputs, _ = run(people.loop(tmp_path / "l.onnx"))
    assert inputs.arrays["turns"].tolist() == 1
    assert inputs.filled["id"] == "drawn from 0 to 2, as it indexes a table of 3 rows"
    _, (once,) = run(people.loop(tmp_path / "l.onnx"))
    _, (thrice,) = run(people.loop(tmp_path / "l.onnx"), values={"turns": 3})
    assert np.allclose(thrice - once, 0.2)


def test_a_number_that_a_branch_compares_is_the_one_it_is_compared_with(tmp_path: Path) -> None:
    inputs, (output,) = run(people.sample_rate(tmp_path / "v.onnx"), dims={"samples": 8})
    assert inputs.arrays["sr"].tolist() == 16_000
    assert output.min() >= 0


def test_functions_are_followed(tmp_path: Path) -> None:
    inputs, _ = run(people.in_a_function(tmp_path / "f.onnx"), dims={"n": 100})
    assert set(inputs.arrays["ids"].tolist()) == set(range(6))


def test_lengths_of_frames_are_the_number_of_frames(tmp_path: Path) -> None:
    inputs, _ = run(people.speech(tmp_path / "s.onnx"), batch_size=2, dims={"T": 30})
    assert inputs.arrays["length"].tolist() == [30, 30]


def test_a_shape_that_is_an_input_keeps_the_number_of_elements(tmp_path: Path) -> None:
    inputs, (output,) = run(people.reshaped_by_input(tmp_path / "r.onnx"))
    assert inputs.arrays["shape"].tolist() == [-1, 1, 1]
    assert output.shape == (12, 1, 1)
    assert run(people.reshaped_by_input(tmp_path / "r.onnx"), values={"shape": {"array": [3, 2, 2]}})[1][0].shape == (3, 2, 2)


def test_an_image_of_free_size_runs_at_the_size_that_is_given(tmp_path: Path) -> None:
    inputs, (output,) = run(people.free_image(tmp_path / "i.onnx"), batch_size=2, dims={"height": 64, "width": 32})
    assert output.shape == (2, 2, 62, 30)
    assert inputs.warnings == []


def test_the_file_tells_an_unknown_rank_from_a_scalar(tmp_path: Path) -> None:
    unknown = people.unknown_rank(tmp_path / "u.onnx")
    scalar = save(
        tmp_path / "s.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [tensor("x", TensorProto.FLOAT, [])],
        [tensor("y", TensorProto.FLOAT, [])],
    )
    assert [onnxruntime.InferenceSession(path).get_inputs()[0].shape for path in (unknown, scalar)] == [[], []]
    assert (input_shapes(unknown, warned), input_shapes(scalar, warned)) == ({"x": None}, {"x": ()})
    with pytest.raises(ModelInvalid, match=r"input 'x' does not say its shape: give options\.shapes: \{x: \[…\]\}"):
        run(unknown)
    assert run(unknown, shapes={"x": (2, 3)})[1][0].shape == (2, 3)
    assert run(scalar)[1][0].shape == ()


def test_an_input_without_elements_runs(tmp_path: Path) -> None:
    inputs, (output,) = run(people.nothing(tmp_path / "n.onnx"))
    assert inputs.arrays["x"].shape == (0, 4)
    assert output.shape == (1, 4)


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "densenet121"])
def test_published_networks_limit_nothing(name: str) -> None:
    path = LIGHT_MODELS / f"light_{name}.onnx"
    stated = {name: tuple(int(str(size)) for size in shape or ()) for name, shape in input_shapes(path, warned).items()}
    assert input_limits(path, {"data_0": stated.get("data_0", (1, 3, 224, 224))}, warned) == {}


def test_external_data_is_never_opened(tmp_path: Path) -> None:
    """The number of the table's rows is known, although the file that contains them is missing."""
    model = onnx.load(people.table(tmp_path / "t.onnx", "n", rows=300))
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert input_limits(path, {"ids": (4, 1)}, warned)["ids"].high == 299


@pytest.mark.parametrize("content", [b"\x08", b"ORTM" * 20, b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_file_that_is_no_onnx_protobuf_limits_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "strange.onnx"
    path.write_bytes(content)
    assert input_limits(path, {"x": (1,)}, warned) == {}


def test_a_cut_model_of_any_length_is_read_to_its_end_or_not_at_all(tmp_path: Path) -> None:
    whole = people.merged_decoder(tmp_path / "d.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        assert input_limits(path, {"input_ids": (1, 1)}, warned) in (
            {},
            {"input_ids": Limits(low=0, high=4, because="it indexes a table of 5 rows")},
        )


def test_a_function_that_calls_itself_is_left_alone(tmp_path: Path) -> None:
    path = people.in_a_function(tmp_path / "f.onnx")
    model = onnx.load(path)
    model.functions[0].node.append(helper.make_node("Embed", ["table", "ids"], ["again"], domain="own"))
    path.write_bytes(model.SerializeToString())
    assert input_limits(path, {"ids": (1,)}, warned) == {}


def test_a_single_value_without_axes_is_followed_and_runs(tmp_path: Path) -> None:
    """The rank of the input is unknown, so the runtime accepts a scalar. The sum of a scalar over an axis is its own value."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    path = save(tmp_path / "m.onnx", [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], [x], [y], [axes])
    inputs, outputs = run(path, shapes={"x": ()})
    assert outputs[0] == inputs.arrays["x"]


def test_an_input_of_texts_may_choose_the_branch_of_an_if(tmp_path: Path) -> None:
    fast = helper.make_tensor("fast", TensorProto.STRING, [1], [b"fast"])
    inputs, outputs = run(_one_or_two(tmp_path, TensorProto.STRING, helper.make_node("Equal", ["x", "fast"], ["chosen"]), fast))
    assert outputs[0].tolist() == [2.0]
    assert "input 'x' was text by rule, and it chooses the branch of an If; state it" in inputs.warnings[0]


def test_a_number_may_choose_the_branch_of_an_if(tmp_path: Path) -> None:
    """The number is an unsigned one of 64 bits. Its type has a larger range than the values that are generated."""
    inputs, outputs = run(_one_or_two(tmp_path, TensorProto.UINT64, helper.make_node("Cast", ["x"], ["chosen"], to=TensorProto.BOOL)))
    assert outputs[0].tolist() == [2.0]
    assert inputs.arrays["x"].tolist() == [0]


def _one_or_two(folder: Path, kind: int, choice: onnx.NodeProto, *constants: onnx.TensorProto) -> Path:
    """Return a model that outputs 1 or 2, as the node `choice` decides by the input `x`."""
    branches = {}
    for name, value in (("then_branch", 1.0), ("else_branch", 2.0)):
        constant = helper.make_node("Constant", [], ["v"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [value]))
        branches[name] = helper.make_graph([constant], name, [], [tensor("v", TensorProto.FLOAT, [1])])
    nodes = [choice, helper.make_node("If", ["chosen"], ["y"], **branches)]
    inputs, outputs = [tensor("x", kind, [1])], [tensor("y", TensorProto.FLOAT, [1])]
    return save(folder / "m.onnx", nodes, inputs, outputs, constants, opset=19)


@pytest.mark.parametrize(("kind", "rows"), [(TensorProto.INT8, 1000), (TensorProto.UINT64, 7), (TensorProto.INT16, 40_000)])
def test_indices_of_every_type_are_places_of_their_table(kind: int, rows: int, tmp_path: Path) -> None:
    table = helper.make_tensor("table", TensorProto.FLOAT, [rows], [0.0] * rows)
    nodes = [helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64), helper.make_node("Gather", ["table", "ids"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [tensor("x", kind, [1000])], [tensor("y", TensorProto.FLOAT, [1000])], [table])
    ids = run(path)[0].arrays["x"]
    most = min(rows - 1, int(np.iinfo(ids.dtype).max))
    assert 0 <= ids.min() < most / 10 < 0.9 * most < ids.max() <= most


def test_the_body_of_a_scan_sees_one_slice_and_what_it_puts_out_is_stacked(tmp_path: Path) -> None:
    """The data have three rows of nine. `first` is an index into a row, and `second` an index into the rows of the scan's output."""
    row, out = tensor("row", TensorProto.FLOAT, [9]), tensor("out", TensorProto.FLOAT, [2])
    body = helper.make_graph([helper.make_node("Gather", ["row", "first"], ["out"])], "body", [row], [out])
    nodes = [
        helper.make_node("Scan", ["data"], ["found"], body=body, num_scan_inputs=1),
        helper.make_node("Gather", ["found", "second"], ["y"]),
    ]
    given = [tensor("data", TensorProto.FLOAT, [3, 9]), tensor("first", TensorProto.INT64, [2]), tensor("second", TensorProto.INT64, [50])]
    path = save(tmp_path / "m.onnx", nodes, given, [tensor("y", TensorProto.FLOAT, [50, 2])])
    inputs, _ = run(path, values={"first": [0, 8]})
    assert set(inputs.arrays["second"].tolist()) <= {0, 1, 2}
    assert input_limits(path, {"data": (3, 9), "first": (2,), "second": (50,)}, warned)["first"].high == 8


def of_a_scalar(path: Path, operator: str) -> Path:
    """Return a model that reduces an input of unknown rank along axis 0. The runtime runs it with a scalar too."""
    axis = weight("axis", np.array([0], dtype=np.int64))
    inputs = ["s", "axis"] if operator == "ReduceSum" else ["s"]
    nodes = [
        helper.make_node(operator, inputs, ["r"], **({} if operator == "ReduceSum" else {"axes": [0]})),
        helper.make_node("Gather", ["table", "ids"], ["y"]),
    ]
    table = weight("table", np.ones((5, 2), dtype=np.float32))
    return save(
        path,
        nodes,
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, None), tensor("ids", TensorProto.INT64, [40])],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None), tensor("y", TensorProto.FLOAT, [40, 2])],
        [axis, table],
        opset=13 if operator == "ReduceSum" else 12,
    )


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMax"])
def test_a_scalar_that_is_reduced_along_an_axis_runs_as_it_does_in_the_runtime(operator: str, tmp_path: Path) -> None:
    inputs, _ = run(of_a_scalar(tmp_path / "s.onnx", operator), shapes={"s": ()})
    assert set(inputs.arrays["ids"].tolist()) == set(range(5))


@pytest.mark.parametrize("operator", ["ReduceMax", "Squeeze", "Gather", "Concat", "TopK"])
def test_an_axis_that_a_value_does_not_have_leaves_the_shape_unknown(operator: str, tmp_path: Path) -> None:
    save(
        tmp_path / "s.onnx",
        [helper.make_node(operator, ["s", "k", "k"], ["r"], axis=0, axes=[0])],
        [tensor("s", TensorProto.FLOAT, [])],
        [tensor("r", TensorProto.FLOAT, [])],
    )
    with open_model(tmp_path / "s.onnx") as model:
        assert model is not None
        (node,) = model.graph.nodes()
        assert infer(node, [(), (), ()], [None, None, None]) is None


def test_a_node_whose_analysis_fails_is_named_in_the_warnings_and_the_rest_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a defect of ours")

    monkeypatch.setitem(shapes._RULES, "ReduceSum", broken)
    engine, options = OnnxEngine(), Options(shapes={"s": ()})
    engine.load(of_a_scalar(tmp_path / "s.onnx", "ReduceSum"), options, "cpu.onnx")
    inputs = make_inputs(engine, options, tmp_path)
    assert set(inputs.arrays["ids"].tolist()) == set(range(5))
    (warning,) = inputs.report(engine.facts().runtime)["warnings"]
    assert "could not be followed through a ReduceSum (KeyError: 'a defect of ours')" in warning


def test_a_graph_whose_reading_fails_limits_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("worker.engines.onnx_graph.limits._of_input", broken)
    said: list[str] = []
    assert input_limits(people.table(tmp_path / "t.onnx", "n", rows=300), {"ids": (4, 1)}, said.append) == {}
    assert "could not be found out (RecursionError: too deep)" in said[0]


def test_limits_that_no_value_fits_are_left_aside_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = {"ids": Limits(low=2**70, high=2**71, because="it indexes a table")}
    monkeypatch.setattr("worker.engines.onnx.input_limits", lambda *_: beyond)
    inputs, _ = run(identity(tmp_path / "i.onnx", TensorProto.INT64, name="ids"))
    assert any("input 'ids' was filled without what the graph says of it" in said for said in inputs.warnings)
