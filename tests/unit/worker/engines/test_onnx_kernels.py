from __future__ import annotations

from worker.engines.onnx_kernels import Kernel, kernels_of, other_opsets

CLOSED = Kernel(7, 12, frozenset({"float"}))
NEWEST = Kernel(13, 2**31 - 1, frozenset({"float"}))


def test_an_implementation_follows_the_definitions_of_its_range() -> None:
    assert [opset for opset in range(1, 30) if CLOSED.follows(opset)] == [7, 8, 9, 10, 11, 12]


def test_an_implementation_of_the_newest_definition_follows_no_later_one() -> None:
    assert [opset for opset in range(1, 30) if NEWEST.follows(opset)] == [13]


def test_what_to_do_depends_on_the_opsets_that_there_are() -> None:
    assert other_opsets(6, [NEWEST, CLOSED]).startswith("from opset 7 on: export the model for opset 7 or newer, or convert it")
    assert other_opsets(22, [NEWEST, CLOSED]).startswith("only as it was before opset 22: export the model for an opset below 22")


def test_the_build_lists_its_implementations() -> None:
    assert {kind for kernel in kernels_of("Add") if kernel.follows(14) for kind in kernel.kinds} >= {"float", "double", "int64"}
    assert not any(kernel.follows(6) for kernel in kernels_of("Add"))
    assert kernels_of("Frobnicate") == []
