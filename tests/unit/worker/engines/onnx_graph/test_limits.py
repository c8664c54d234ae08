"""The graph says what its inputs may hold. Each model here is run by the real runtime with the values that follow."""

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
from tests.onnx_models import save, tensor
from worker.engines.base import Limits, Options
from worker.engines.inputs import Inputs, make_inputs
from worker.engines.onnx import OnnxEngine
from worker.engines.onnx_graph.limits import input_limits, input_shapes


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
    assert inputs.arrays["position_ids"][0].tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 6]  # 2 more are added, and the table has 9 rows
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
    assert (input_shapes(unknown), input_shapes(scalar)) == ({"x": None}, {"x": ()})
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
    shapes = {name: tuple(int(str(size)) for size in shape or ()) for name, shape in input_shapes(path).items()}
    assert input_limits(path, {"data_0": shapes.get("data_0", (1, 3, 224, 224))}) == {}


def test_external_data_is_never_opened(tmp_path: Path) -> None:
    """The number of the table's rows is known, although the file that contains them is missing."""
    model = onnx.load(people.table(tmp_path / "t.onnx", "n", rows=300))
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert input_limits(path, {"ids": (4, 1)})["ids"].high == 299


@pytest.mark.parametrize("content", [b"\x08", b"ORTM" * 20, b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_file_that_is_no_onnx_protobuf_limits_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "strange.onnx"
    path.write_bytes(content)
    assert input_limits(path, {"x": (1,)}) == {}


def test_a_cut_model_of_any_length_is_read_to_its_end_or_not_at_all(tmp_path: Path) -> None:
    whole = people.merged_decoder(tmp_path / "d.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        assert input_limits(path, {"input_ids": (1, 1)}) in (
            {},
            {"input_ids": Limits(low=0, high=4, because="it indexes a table of 5 rows")},
        )


def test_a_function_that_calls_itself_is_left_alone(tmp_path: Path) -> None:
    path = people.in_a_function(tmp_path / "f.onnx")
    model = onnx.load(path)
    model.functions[0].node.append(helper.make_node("Embed", ["table", "ids"], ["again"], domain="own"))
    path.write_bytes(model.SerializeToString())
    assert input_limits(path, {"ids": (1,)}) == {}
