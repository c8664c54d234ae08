"""Tests descriptions of inputs that no converter writes. `make test-coreml` reads real ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from worker.engines.coreml_inputs import read_inputs


def description(shapes: list[list[int]], default: list[int]) -> Any:
    """Return a model's description with one array, which lists the shapes that it accepts, in the form of CoreML's messages."""
    array = SimpleNamespace(
        ArrayDataType=SimpleNamespace(Name=lambda _: "FLOAT32"),
        dataType=0,
        shape=default,
        WhichOneof=lambda _: "enumeratedShapes",
        enumeratedShapes=SimpleNamespace(shapes=[SimpleNamespace(shape=shape) for shape in shapes]),
    )
    kind = SimpleNamespace(WhichOneof=lambda _: "multiArrayType", multiArrayType=array, isOptional=False)
    return SimpleNamespace(input=[SimpleNamespace(name="x", type=kind)])


def test_a_list_of_shapes_that_is_empty_leaves_the_shape_to_the_recipe() -> None:
    (found,) = read_inputs(description([], []), "net.mlmodel")
    assert (found.spec.shape, found.default, found.choices) == (None, (), ())


def test_shapes_that_differ_in_one_size_leave_that_size_free() -> None:
    (found,) = read_inputs(description([[1, 4], [2, 4]], []), "net.mlmodel")
    assert (found.spec.shape, found.default) == ((None, 4), (1, 4))
