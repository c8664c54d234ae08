"""Chooses the execution providers to ask for, and checks that the provider of a capability really does the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import EngineUnavailable
from worker.engines.base import Options

CPU = "CPUExecutionProvider"
# This is the default provider of each capability.
PROVIDERS = {
    "cpu.onnx": CPU,
    "gpu.cuda.onnx": "CUDAExecutionProvider",
    "gpu.rocm.onnx": "ROCMExecutionProvider",
    "gpu.directml.onnx": "DmlExecutionProvider",
    "gpu.coreml": "CoreMLExecutionProvider",
    "ane.coreml": "CoreMLExecutionProvider",
    "cpu.coreml": "CoreMLExecutionProvider",
}
# These are the options of a capability's default provider, where it needs some. The provider of CoreML stands for three devices.
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "gpu.coreml": {"MLComputeUnits": "CPUAndGPU"},
    "ane.coreml": {"MLComputeUnits": "CPUAndNeuralEngine"},
    "cpu.coreml": {"MLComputeUnits": "CPUOnly"},
}
# The results of these providers count for a capability. A recipe may name any of them.
ALTERNATIVES = {
    "cpu.onnx": {CPU, "DnnlExecutionProvider", "XnnpackExecutionProvider", "OpenVINOExecutionProvider", "ACLExecutionProvider"},
    "gpu.cuda.onnx": {"CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"},
    "gpu.rocm.onnx": {"ROCMExecutionProvider", "MIGraphXExecutionProvider"},
    "gpu.directml.onnx": {"DmlExecutionProvider"},
    "gpu.coreml": {"CoreMLExecutionProvider"},
    "ane.coreml": {"CoreMLExecutionProvider"},
    "cpu.coreml": {"CoreMLExecutionProvider"},
}
LEAST_SHARE = 0.5  # the least share of a model's nodes; with a smaller share on the GPU, the result would mostly measure the CPU


def wanted_providers(options: Options, capability: str, available: Sequence[str]) -> list[str]:
    """Return the providers to ask for, in order: the recipe's or the capability's, and the CPU last if it is not among them.

    Raises:
        EngineUnavailable: The runtime lacks one of them, or the result would belong to another capability.
    """
    providers = list(options.providers or [PROVIDERS[capability]])
    for provider in providers:
        if provider not in available:
            raise EngineUnavailable(f"{provider} is not in this worker's ONNX Runtime; it has {', '.join(available)}")
    if providers[0] not in ALTERNATIVES[capability] or (capability == "cpu.onnx" and set(providers) - ALTERNATIVES[capability]):
        raise EngineUnavailable(
            f"options.providers {providers} would not measure {capability}, whose first is {' or '.join(sorted(ALTERNATIVES[capability]))}"
        )
    return providers if CPU in providers else [*providers, CPU]


def must_count(wanted: Sequence[str]) -> bool:
    """Return whether the nodes of each provider must be counted. The plain CPU provider runs either all nodes or none."""
    return list(wanted) != [CPU]


def nodes_by_provider(session: Any) -> Counter[str] | None:
    """Return how many nodes each provider runs. None if the runtime cannot tell (before 1.24)."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    nodes: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        nodes[subgraph.ep_name] += len(subgraph.get_nodes())
    return nodes


def judge(nodes: Mapping[str, int] | None, wanted: Sequence[str], capability: str, version: str) -> tuple[str, float]:
    """Return the provider that runs the most nodes, and a share of the model's nodes.

    Only providers of the capability are considered. For a GPU the share is that of all these providers together, for the CPU that of the
    returned provider alone.

    Args:
        nodes: How many nodes each provider runs. None if the runtime cannot tell.
        wanted: The providers that were asked for, in order.

    Raises:
        EngineUnavailable: The runtime cannot tell, or fewer than half of the nodes run on the capability's providers.
    """
    own = ALTERNATIVES[capability] & set(wanted)
    if not must_count(wanted):
        return CPU, 1.0
    if nodes is None:
        raise EngineUnavailable(
            f"ONNX Runtime {version} cannot say which provider runs which node, so a result of {wanted[0]} could be the CPU's: "
            "update it to 1.24 or later on the worker"
        )
    total = sum(nodes.values())
    taken = {provider: nodes.get(provider, 0) for provider in wanted if provider in own}
    share = sum(taken.values()) / total if total else 0.0
    most = max(taken, key=lambda provider: taken[provider])
    if capability == "cpu.onnx":
        return most, nodes.get(most, 0) / total if total else 1.0
    if not total:
        raise EngineUnavailable(f"{wanted[0]} was given no node: ONNX Runtime {version} computed the whole model while it loaded it")
    if share < LEAST_SHARE:
        shown = ", ".join(f"{count} on {name}" for name, count in Counter(nodes).most_common())
        raise EngineUnavailable(
            f"{wanted[0]} fell back: {capability} was asked for, but of the model's {total} nodes only {sum(taken.values())} run on it "
            f"({shown}). Nothing was measured; export the model with operators and types that {wanted[0]} has, or measure it on cpu.onnx"
        )
    return most, share


def fell_back(provider: str, active: Sequence[str], capability: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"{provider} fell back: {capability} was asked for, but the session runs on {', '.join(active)}. "
        "Nothing was measured; check the driver and the libraries of that provider (`fleetmark doctor`)"
    )
