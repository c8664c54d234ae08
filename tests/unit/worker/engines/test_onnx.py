"""Tests the ONNX engine: every kind of graph and input, options as the runtime reports them, and the reasons of refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from shared.errors import EngineUnavailable, ModelInvalid
from tests import onnx_models, onnx_people
from tests.measuring import LIGHT_MODELS
from worker.engines.base import InputSpec, Limits, Options
from worker.engines.inputs import make_inputs
from worker.engines.onnx import GRAPH_LEVELS, OnnxEngine
from worker.engines.onnx_call_errors import Called
from worker.engines.onnx_errors import explain


def run(path: Path, options: Options | None = None, capability: str = "cpu.onnx") -> tuple[OnnxEngine, object]:
    engine, options = OnnxEngine(), options or Options()
    engine.load(path, options, capability)
    return engine, engine.bind(make_inputs(engine, options, path.parent).arrays)()


def why(path: Path, options: Options | None = None) -> str:
    """Return what a person is told about a call that fails, without the message of the runtime."""
    engine, options = OnnxEngine(), options or Options()
    engine.load(path, options, "cpu.onnx")
    try:
        engine.bind(make_inputs(engine, options, path.parent).arrays)()
    except ModelInvalid as error:
        return error.detail
    except Exception as error:
        reason = engine.explain(error)
        if isinstance(reason, ModelInvalid):
            return reason.detail.partition(". ONNX Runtime ")[0]
        raise
    raise AssertionError(f"{path.name} runs")


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1", "resnet50", "densenet121"])
def test_a_published_network_runs(name: str) -> None:
    engine, outputs = run(LIGHT_MODELS / f"light_{name}.onnx", Options(graph="disabled"))
    assert isinstance(outputs, list)
    assert outputs[0].size == 1000
    assert engine.facts().runtime["inputs"][0]["shape"] == [1, 3, 224, 224]


@pytest.mark.parametrize(
    "kind",
    [
        *("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
        *("FLOAT8E4M3FN", "FLOAT8E5M2"),
    ],
)
def test_inputs_of_every_type_run(kind: str, tmp_path: Path) -> None:
    _, outputs = run(onnx_models.identity(tmp_path / "identity.onnx", getattr(TensorProto, kind)))
    assert outputs


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "INT4", "UINT4"])
def test_outputs_of_types_that_numpy_lacks_run(kind: str, tmp_path: Path) -> None:
    engine, outputs = run(onnx_models.cast(tmp_path / "cast.onnx", getattr(TensorProto, kind)), Options(batch_size=3))
    assert isinstance(outputs, list)
    assert outputs[0].shape() == [3, 4]
    assert engine.facts().runtime["outputs"][0]["type"] == f"tensor({kind.lower()})"


def test_several_integer_inputs_stay_in_the_vocabulary(tmp_path: Path) -> None:
    options = Options(shapes=dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (2, 16)))
    _, outputs = run(onnx_models.bert_like(tmp_path / "bert.onnx"), options)
    assert isinstance(outputs, list)
    assert outputs[0].shape == (2, 16, 8)


def test_boolean_scalars_and_subgraphs_run(tmp_path: Path) -> None:
    assert run(onnx_models.conditional(tmp_path / "if.onnx"))[1]


def test_quantized_models_run(tmp_path: Path) -> None:
    _, outputs = run(onnx_models.quantized(tmp_path / "q.onnx"), Options(batch_size=5))
    assert isinstance(outputs, list)
    assert outputs[0].shape == (5, 3)


def test_external_data_is_read_from_beside_the_model(tmp_path: Path) -> None:
    _, outputs = run(onnx_models.external(tmp_path))
    assert isinstance(outputs, list)
    assert outputs[0].size == 4096


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = onnx_models.external(tmp_path)
    (tmp_path / "weights" / "big.bin").unlink()
    with pytest.raises(ModelInvalid, match=r"in files beside it, and 'big\.bin' is not there: put it beside the model, or upload it with"):
        run(path)


def test_external_data_that_was_cut_is_named(tmp_path: Path) -> None:
    path = onnx_models.external(tmp_path)
    (tmp_path / "weights" / "big.bin").write_bytes(b"12345")
    with pytest.raises(ModelInvalid, match=r"one is shorter than the model says, like a download that was cut: get the whole file again"):
        run(path)


def test_options_reach_the_runtime_and_come_back_as_it_reports_them(tmp_path: Path) -> None:
    path = onnx_models.linear(tmp_path / "linear.onnx", batch="n")
    runtime = run(path, Options(threads=1, inter_threads=2, graph="basic", batch_size=7))[0].facts().runtime
    assert runtime["threads"] == {"intra_op": 1, "inter_op": 2}
    assert runtime["execution_mode"] == "ORT_PARALLEL"
    assert runtime["graph_level"] == "basic"
    assert runtime["providers"] == ["CPUExecutionProvider"]
    assert (runtime["provider"], runtime["provider_share"]) == ("CPUExecutionProvider", 1.0)
    assert runtime["version"] == onnxruntime.__version__
    assert runtime["inputs"] == [{"name": "x", "type": "tensor(float)", "shape": ["n", 4]}]
    assert run(path)[0].facts().runtime["graph_level"] == "all"


def test_where_layout_and_all_are_one_level_it_is_reported_as_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is so in onnxruntime 1.20 and 1.21."""
    monkeypatch.setitem(GRAPH_LEVELS, "layout", GRAPH_LEVELS["all"])
    assert run(onnx_models.linear(tmp_path / "linear.onnx"))[0].facts().runtime["graph_level"] == "all"


@pytest.mark.parametrize("graph", ["disabled", "basic", "extended", "layout", "all"])
def test_each_graph_level_is_reported_by_its_name(graph: str, tmp_path: Path) -> None:
    one_level = GRAPH_LEVELS["layout"] == GRAPH_LEVELS["all"]  # this is so before onnxruntime 1.22
    known = "all" if graph == "layout" and one_level else graph
    assert run(onnx_models.linear(tmp_path / "linear.onnx"), Options(graph=graph))[0].facts().runtime["graph_level"] == known


def test_a_gpu_that_is_not_there_is_named_and_never_replaced_by_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="CUDAExecutionProvider is not in this worker's ONNX Runtime"):
        run(onnx_models.linear(tmp_path / "linear.onnx"), capability="gpu.cuda.onnx")


def test_a_provider_of_another_capability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"would not measure cpu\.onnx"):
        run(onnx_models.linear(tmp_path / "linear.onnx"), Options(providers=("AzureExecutionProvider",)))


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"u\.onnx needs the operator Frobnicate"):
        run(onnx_models.unknown_operator(tmp_path / "u.onnx"))
    with pytest.raises(ModelInvalid, match=r"of opset 21, .* does not have: update onnxruntime on the worker, or export the model without"):
        run(onnx_models.unknown_operator(tmp_path / "u.onnx"))


def test_an_operator_of_another_library_is_named_with_its_domain(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInvalid, match=r"needs the operator example\.org:Frobnicate, .*: it belongs to 'example\.org', .* ONNX Runtime"
    ):
        run(onnx_models.foreign_operator(tmp_path / "f.onnx"))
    with pytest.raises(ModelInvalid, match=r"i\.onnx has operators of the domain 'example\.org' and names no version of it"):
        run(onnx_models.foreign_operator(tmp_path / "i.onnx", imported=False))


def test_an_operator_that_is_missing_for_a_type_is_told_with_the_types_there_are(tmp_path: Path) -> None:
    needed = r"k\.onnx needs the operator Det of opset 22 for bfloat16, and ONNX Runtime \S+ has it for float only: export"
    too_new = r"k\.onnx uses opset 22, newer than ONNX Runtime 1\.20"
    with pytest.raises(ModelInvalid, match=too_new if onnxruntime.__version__.startswith("1.20.") else needed):
        run(onnx_models.missing_kernel(tmp_path / "k.onnx"))
    with pytest.raises(
        ModelInvalid, match=r"c\.onnx needs the operator Conv of opset \d+ for double, and ONNX Runtime \S+ has it for float"
    ):
        run(onnx_people.missing_type(tmp_path / "c.onnx"))


def test_an_operator_that_is_implemented_for_newer_opsets_alone_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid) as refused:
        run(onnx_models.old_add(tmp_path / "a.onnx"))
    said = f"a.onnx needs the operator Add of opset 6, and ONNX Runtime {onnxruntime.__version__} has it from opset 7 on: "
    assert refused.value.detail.startswith(said + "export the model for opset 7 or newer, or convert it with onnx.version_converter")


def test_a_truncated_model_is_called_so(tmp_path: Path) -> None:
    whole = (LIGHT_MODELS / "light_squeezenet.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelInvalid, match=r"cut\.onnx is no ONNX model, or a truncated one"):
        run(path)


def test_an_opset_or_ir_version_of_tomorrow_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(
        ModelInvalid, match=r"opset 99, newer than ONNX Runtime \S+ supports, up to \d+ of ai\.onnx: export it with a lower"
    ):
        run(onnx_models.opset_of_tomorrow(tmp_path / "opset.onnx"))
    with pytest.raises(ModelInvalid, match=r"IR version 99; ONNX Runtime .* reads up to"):
        run(onnx_models.format_of_tomorrow(tmp_path / "ir.onnx"))


def test_a_shape_that_a_free_dimension_makes_impossible_says_what_to_give(tmp_path: Path) -> None:
    path = onnx_models.reshaped(tmp_path / "r.onnx")
    assert why(path) == (
        "r.onnx cannot be run with these shapes, its Reshape node refuses them: x was [1, 1, 8]; "
        "give what its free dimensions need, options.dims: {batch: …, sequence: …}"
    )
    assert run(path, Options(dims={"batch": 2, "sequence": 8}))[1]
    assert "its Conv node" in why(onnx_people.free_image(tmp_path / "i.onnx"))
    assert why(tmp_path / "i.onnx").endswith("options.dims: {batch: …, height: …, width: …}")


def test_the_runtimes_words_are_kept_without_its_source_files(tmp_path: Path) -> None:
    engine = OnnxEngine()
    engine.load(onnx_models.reshaped(tmp_path / "r.onnx"), Options(), "cpu.onnx")
    state = onnxruntime.capi.onnxruntime_pybind11_state
    with pytest.raises((state.Fail, state.RuntimeException)) as caught:  # onnxruntime 1.20 raises the second one
        engine.bind(make_inputs(engine, Options(), tmp_path).arrays)()
    reason = engine.explain(caught.value)
    assert reason is not None
    assert "Input shape:{1,1,8}, requested shape:{-1,64}" in reason.detail
    assert "onnxruntime_src" not in reason.detail


def test_a_steering_shape_that_fails_asks_to_state_it(tmp_path: Path) -> None:
    path = onnx_people.reshaped_by_input(tmp_path / "r.onnx")
    assert why(path, Options(values={"shape": {"array": [5, 5, 5]}})).endswith("state what steers the model, options.values: {shape: …}")


def test_a_category_that_a_pipeline_refuses_is_told_with_those_it_knows(tmp_path: Path) -> None:
    said = why(onnx_people.pipeline(tmp_path / "p.onnx"), Options(values={"city": "London"}))
    assert said.startswith("p.onnx cannot take these values: its OneHotEncoder node is given a category that it does not know")
    assert said.endswith("options.values: {city: [Paris, Rome, Oslo], colour: [red, green]}")
    said = why(onnx_people.numbered_classes(tmp_path / "n.onnx"), Options(values={"X": 9}))
    assert said.endswith("options.values: {X: [1, 3]}")  # this is a range


def test_a_locale_that_the_device_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        EngineUnavailable, match=r"t\.onnx normalises texts by the rules of the locale xx_XX\.UTF-8, which this device does not"
    ) as caught:
        run(onnx_people.normalised_text(tmp_path / "t.onnx"))
    assert "export the model with the locale C.UTF-8" in caught.value.detail  # without any locale, the runtime takes en_US.UTF-8


def test_the_words_about_channels_ask_for_the_free_dimensions() -> None:
    """An encoder whose 80 features are a free dimension fails in its first convolution."""
    words = NODE.format("FusedConv", "Input channels C is not equal to kernel channels * group. C: 1 kernel channels: 80 group: 1")
    detail = explain(RuntimeError(words), Path("m.onnx"), "1.31", called("mel", "float", ("batch", "features", "frames"))).detail
    assert "give what its free dimensions need, options.dims: {batch: …, features: …, frames: …}" in detail


def test_a_condition_that_is_all_the_runtime_says_is_kept() -> None:
    words = NODE.format(
        "MaxRoiPool",
        "/onnxruntime_src/roi_pool.cc:43 Status RoiPool<T>::Compute(OpKernelContext*) const [with T = float] a < b was false. ",
    )
    assert explain(RuntimeError(words), Path("m.onnx"), "1.31").detail.endswith("Status Message: a < b was false")


def test_a_model_in_the_runtimes_own_format_runs_under_any_name(tmp_path: Path) -> None:
    """The worker's cache stores models without their suffix, but the runtime decides by the suffix."""
    chosen = onnxruntime.SessionOptions()
    chosen.optimized_model_filepath = str(tmp_path / "model.ort")
    chosen.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(onnx_models.linear(tmp_path / "linear.onnx")), chosen, providers=["CPUExecutionProvider"])
    for name in ("kept", "kept.onnx"):
        shutil.copy(tmp_path / "model.ort", tmp_path / name)
        assert run(tmp_path / name)[1]
    shutil.copy(tmp_path / "linear.onnx", tmp_path / "really-onnx.ort")
    assert run(tmp_path / "really-onnx.ort")[1]


def test_numbers_that_may_decide_over_shapes_are_asked_for(tmp_path: Path) -> None:
    words = NODE.format("Col2Im", "'input' dim[1] (5) must be a positive multiple of prod(block_shape) (1386).")
    detail = explain(RuntimeError(words), Path("m.onnx"), "1.31", called("block_shape", "int64", (2,))).detail
    assert "if their numbers decide over shapes, state them, options.values: {block_shape: …}" in detail


def called(name: str, kind: str, shape: tuple[int | str | None, ...], limits: Limits | None = None) -> dict[str, Called]:
    return {name: Called(InputSpec(name, kind, shape), [1], limits)}


NODE = "Non-zero status code returned while running {} node. Name:'n7' Status Message: {}"


@pytest.mark.parametrize(
    ("words", "inputs", "said"),
    [
        (
            NODE.format("Gather", "indices element out of data bounds, idx=57 must be within the inclusive range [-7,6]"),
            called("ids", "int64", ("n",)),
            "its Gather node 'n7' looks up place 57 of a table whose last place is 6; give options.values: {ids: [0, 6]}, "
            "or smaller sizes: options.dims: {n: …}",
        ),
        (
            # this is the message of version 0.4.0
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : indices element out of data bounds, idx=6157 data_dim=6148",
            called("ids", "int64", (4,)),
            "one of its nodes looks up place 6157 of a table whose last place is 6147; give options.values: {ids: [0, 6147]}",
        ),
        (
            NODE.format("GatherND", "invalid index found, index = 9"),
            called("ids", "int32", (4,)),
            "looks up place 9 that its table does not have; give options.values: {ids: [0, …]}",
        ),
        (
            NODE.format("ScatterND", "invalid indice found, indice = 9"),
            called("ids", "int64", (4,)),
            "looks up place 9 that its table does not have; give options.values: {ids: [0, …]}",
        ),
        (
            NODE.format("GatherElements", "GatherElements op: Out of range value in index tensor"),
            called("x", "float", ("seq",)),
            "No input holds whole numbers, so the place comes from a size: smaller sizes: options.dims: {seq: …}",
        ),
        (
            NODE.format("TopK", "k argument [9] should not be greater than specified axis dim value [5]"),
            called("k", "int64", (1,), Limits(steers="is the k of a TopK")) | called("x", "float", ("n", "boxes")),
            "its TopK node 'n7' asks for the 9 greatest of 5 values; give options.values: {k: 5} or less, "
            "or larger sizes: options.dims: {n: …, boxes: …}",
        ),
        (
            NODE.format("TopK", "k argument [9] should not be greater than specified axis dim value [5]"),
            called("x", "float", (1, None)),
            "asks for the 9 greatest of 5 values; the model itself asks for it, or larger sizes: options.shapes: {x: [1, ?]}",
        ),
        (
            NODE.format("LSTM", "Invalid value/s in sequence_lens. All values must be >= 0 and <= seq_length. seq_length=4"),
            called("lens", "int32", ("batch",)),
            "a length beyond its sequence of 4 steps; give options.values: {lens: [1, 4]}, or larger sizes: options.dims: {batch: …}",
        ),
        (
            NODE.format("ReverseSequence", "Invalid sequence length: 50. Value must be in range [0,4]"),
            called("lens", "int64", (1,)),
            "is given a length beyond its sequence of 4 steps; give options.values: {lens: [1, 4]}",
        ),
        (
            NODE.format("RoiAlign", "batch_indices value 85 at index 0 is out of range [0, 2)"),
            called("which", "int64", ("regions",)),
            "asks for image 85 of a batch whose last one is 1; give options.values: {which: [0, 1]}, "
            "or larger sizes: options.dims: {regions: …}",
        ),
        (
            NODE.format("SequenceAt", "Invalid sequence index (9) specified for sequence of size (2)"),
            called("place", "int64", ()),
            "asks for place 9 of a sequence of 2; give options.values: {place: [0, 1]}",
        ),
    ],
)
def test_a_value_that_the_graph_refuses_is_told_with_input_and_range(words: str, inputs: dict[str, Called], said: str) -> None:
    detail = explain(RuntimeError(words), Path("m.onnx"), "1.31", inputs).detail
    assert detail.startswith("m.onnx cannot take these values: ")
    assert said in detail


def test_a_top_k_beyond_its_values_is_refused_before_the_call(tmp_path: Path) -> None:
    assert why(onnx_people.top_k(tmp_path / "t.onnx"), Options(values={"k": 9})) == (
        "options.values.k has values from 9 to 9, but it is the k of a TopK among 5 values: give [0, 5] or values within it, "
        "or larger sizes (options.dims)"
    )


def test_a_length_beyond_the_sequence_is_refused_before_the_call(tmp_path: Path) -> None:
    said = why(onnx_people.time_major(tmp_path / "l.onnx"), Options(dims={"time": 4}, values={"sequence_lens": 9}))
    assert "has values from 9 to 9, but it is the length of a sequence of 4 steps: give [0, 4]" in said


def test_the_runtimes_own_words_are_kept_and_bounded() -> None:
    long = "[ONNXRuntimeError] : 1 : FAIL : " + "words " * 1000
    assert 400 < len(explain(RuntimeError(long), Path("m.onnx"), "1.31").detail) < 500
    assert "words words" in explain(RuntimeError(long), Path("m.onnx"), "1.31").detail


def test_a_model_without_a_free_dimension_is_at_fault_itself() -> None:
    words = "Non-zero status code returned while running MatMul node. Name:'' Status Message: dimension mismatch"
    assert "no free dimension, so the model itself is at fault" in explain(RuntimeError(words), Path("m.onnx"), "1.31", {}).detail


def test_a_shape_that_only_fails_when_called_is_explained(tmp_path: Path) -> None:
    engine = OnnxEngine()
    engine.load(onnx_models.linear(tmp_path / "linear.onnx"), Options(), "cpu.onnx")
    call = engine.bind({"x": np.ones((1, 9), dtype=np.float32)})
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument) as caught:
        call()
    reason = engine.explain(caught.value)
    assert isinstance(reason, ModelInvalid)
    assert "does not take this shape for its input x" in reason.detail


def test_words_of_older_runtimes_are_understood() -> None:
    """These are messages in the form of onnxruntime 1.20."""
    old = "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Trilu(14) node with name 'n1'"
    assert "the operator Trilu of opset 14" in explain(RuntimeError(old), Path("m.onnx"), "1.20").detail
    assert "does not fit into the memory" in explain(RuntimeError("std::bad_alloc"), Path("m.onnx"), "1.20").detail
