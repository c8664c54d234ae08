"""Tests that a result belongs to the provider of its capability: most nodes run there, and the runtime can report this."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest

from shared.errors import EngineUnavailable
from tests import onnx_models
from tests.measuring import LIGHT_MODELS
from worker.engines.base import Options
from worker.engines.onnx_providers import CPU, fell_back, judge, nodes_by_provider, wanted_providers

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("nodes", "wanted", "provider", "share"),
    [
        ({CUDA: 300}, [CUDA, CPU], CUDA, 1.0),
        ({CUDA: 200, CPU: 100}, [CUDA, CPU], CUDA, 2 / 3),
        ({CUDA: 150, CPU: 150}, [CUDA, CPU], CUDA, 0.5),
        ({TENSORRT: 40, CUDA: 20, CPU: 30}, [TENSORRT, CUDA, CPU], TENSORRT, 60 / 90),
        ({TENSORRT: 10, CUDA: 50, CPU: 30}, [TENSORRT, CUDA, CPU], CUDA, 60 / 90),
    ],
)
def test_the_share_of_nodes_is_what_runs_on_the_capabilitys_providers(
    nodes: dict[str, int], wanted: list[str], provider: str, share: float
) -> None:
    most, found = judge(nodes, wanted, "gpu.cuda.onnx", "1.31")
    assert most == provider
    assert found == pytest.approx(share)


def test_one_node_of_three_hundred_on_the_gpu_is_no_result_of_the_gpu() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        judge({CUDA: 1, CPU: 299}, [CUDA, CPU], "gpu.cuda.onnx", "1.31")
    assert caught.value.detail.startswith(
        "CUDAExecutionProvider fell back: gpu.cuda.onnx was asked for, but of the model's 300 nodes only 1 run on it "
        "(299 on CPUExecutionProvider, 1 on CUDAExecutionProvider). Nothing was measured"
    )


@pytest.mark.parametrize("nodes", [{CUDA: 149, CPU: 151}, {CPU: 300}, {TENSORRT: 200, CPU: 100}])
def test_less_than_half_is_refused_and_providers_that_were_not_asked_for_count_for_nothing(nodes: dict[str, int]) -> None:
    with pytest.raises(EngineUnavailable, match="fell back"):
        judge(nodes, [CUDA, CPU], "gpu.cuda.onnx", "1.31")


def test_a_model_of_which_nothing_is_left_to_run_is_refused() -> None:
    with pytest.raises(EngineUnavailable, match=r"was given no node: ONNX Runtime 1\.31 computed the whole model while it loaded it"):
        judge({}, [CUDA, CPU], "gpu.cuda.onnx", "1.31")


def test_a_runtime_that_cannot_say_is_refused_for_a_gpu_and_not_for_the_cpu() -> None:
    with pytest.raises(EngineUnavailable, match=r"ONNX Runtime 1\.22 cannot say which provider runs which node.*update it to 1\.24"):
        judge(None, [CUDA, CPU], "gpu.cuda.onnx", "1.22")
    assert judge(None, [CPU], "cpu.onnx", "1.22") == (CPU, 1.0)


def test_another_provider_of_the_cpu_has_its_own_share() -> None:
    dnnl = "DnnlExecutionProvider"
    assert judge({dnnl: 30, CPU: 10}, [dnnl, CPU], "cpu.onnx", "1.31") == (dnnl, 0.75)
    assert judge({dnnl: 10, CPU: 30}, [dnnl, CPU], "cpu.onnx", "1.31") == (CPU, 0.75)


def test_a_real_session_says_where_its_nodes_run(tmp_path: Path) -> None:
    """The build for the CPU has a second provider, for Azure, which takes no node of this graph."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    path = LIGHT_MODELS / "light_squeezenet.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["AzureExecutionProvider", CPU])
    nodes = nodes_by_provider(session)
    if not hasattr(session, "get_provider_graph_assignment_info"):  # this is missing before onnxruntime 1.24
        assert nodes is None
        return
    assert nodes is not None
    assert set(nodes) == {CPU}
    assert nodes[CPU] == len(onnx.load(path).graph.node)
    with pytest.raises(EngineUnavailable, match=f"of the model's {nodes[CPU]} nodes only 0 run on it"):
        judge(nodes, [CUDA, CPU], "gpu.cuda.onnx", onnxruntime.__version__)


def test_a_runtime_without_the_call_is_not_asked() -> None:
    assert nodes_by_provider(object()) is None


def test_a_provider_that_is_gone_from_the_session_is_named() -> None:
    reason = fell_back(CUDA, [CPU], "gpu.cuda.onnx").detail
    assert reason.startswith("CUDAExecutionProvider fell back: gpu.cuda.onnx was asked for, but the session runs on CPUExecutionProvider")


def test_the_recipes_providers_are_asked_for_with_the_cpu_behind_them() -> None:
    available = [TENSORRT, CUDA, CPU]
    assert wanted_providers(Options(), "gpu.cuda.onnx", available) == [CUDA, CPU]
    assert wanted_providers(Options(providers=(TENSORRT, CUDA)), "gpu.cuda.onnx", available) == [TENSORRT, CUDA, CPU]
    with pytest.raises(EngineUnavailable, match=r"would not measure cpu\.onnx"):
        wanted_providers(Options(providers=(CUDA,)), "cpu.onnx", available)
    with pytest.raises(EngineUnavailable, match=r"would not measure gpu\.cuda\.onnx"):
        wanted_providers(Options(providers=(CPU, CUDA)), "gpu.cuda.onnx", available)


def test_the_plain_cpu_is_reported_whole(tmp_path: Path) -> None:
    from worker.engines.onnx import OnnxEngine

    engine = OnnxEngine()
    engine.load(onnx_models.linear(tmp_path / "l.onnx"), Options(), "cpu.onnx")
    runtime = engine.facts().runtime
    assert (runtime["provider"], runtime["provider_share"]) == (CPU, 1.0)
