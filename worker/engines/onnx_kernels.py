"""Lists the implementations (kernels) that this build of ONNX Runtime has of an operator, to explain why it has none for a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_OPEN = 2**31 - 1


@dataclass(frozen=True)
class Kernel:
    """Holds one implementation of an operator on the CPU.

    Attributes:
        first: the opset that brought the oldest definition of the operator that it follows.
        last: the last opset whose definition it follows. `_OPEN` means that it follows no definition after that of `first`.
        kinds: the element types that it takes.
    """

    first: int
    last: int
    kinds: frozenset[str]

    def follows(self, opset: int) -> bool:
        """Return whether it follows the definition of the operator that came with this opset. This is the runtime's own rule."""
        return opset == self.first or (self.last != _OPEN and self.first < opset <= self.last)


def kernels_of(operator: str) -> list[Kernel]:
    """Return the implementations of an operator (`Add`, `com.microsoft:Gelu`). Empty if there are none, or if the build cannot say."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    if not hasattr(state, "get_all_opkernel_def"):
        return []
    domain, _, name = operator.rpartition(":")
    return [
        Kernel(kernel.version_range[0], kernel.version_range[1], _kinds(kernel.type_constraints))
        for kernel in state.get_all_opkernel_def()
        if kernel.op_name == name and kernel.domain == domain and kernel.provider == "CPUExecutionProvider"
    ]


def other_opsets(opset: int, kernels: Sequence[Kernel]) -> str:
    """Return for which opsets there are implementations, and what to do, if there is none for this one."""
    oldest = min(kernel.first for kernel in kernels)
    if opset < oldest:
        return f"from opset {oldest} on: export the model for opset {oldest} or newer, or convert it with onnx.version_converter"
    return f"only as it was before opset {opset}: export the model for an opset below {opset}, or update onnxruntime on the worker"


def _kinds(constraints: Mapping[str, Sequence[str]]) -> frozenset[str]:
    return frozenset(
        kind.removeprefix("tensor(").removesuffix(")")
        for constraint, kinds in constraints.items()
        if constraint in ("T", "T1", "X")
        for kind in kinds
    )
