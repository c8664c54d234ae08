"""Builds and saves real models with coremltools, which it does on every system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools
import numpy as np
from coremltools.converters.mil import Builder
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder, flexible_shape_utils


def package(path: Path, *, dtype: type = np.float32) -> Path:
    """Save a package: an ML program of one convolution, which takes `x`, [1, 3, 8, 8]. Its weights are a file of their own."""
    from coremltools.converters.mil.mil import types

    kind = types.fp32 if dtype is np.float32 else types.fp16

    @Builder.program(  # type: ignore[untyped-decorator]  # coremltools has no types
        input_specs=[Builder.TensorSpec(shape=(1, 3, 8, 8), dtype=kind)], opset_version=coremltools.target.macOS13
    )
    def program(x: Any) -> Any:
        return Builder.relu(x=Builder.conv(x=x, weight=np.random.default_rng(1).random((16, 3, 3, 3)).astype(dtype)))

    model = coremltools.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.macOS13,
        compute_precision=coremltools.precision.FLOAT32 if dtype is np.float32 else coremltools.precision.FLOAT16,
    )
    model.save(str(path))
    return path


def network(path: Path, *, shapes: list[tuple[int, ...]] | None = None, bounds: list[tuple[int, int]] | None = None) -> Path:
    """Save an `.mlmodel`: y = 2x. `shapes` lists the shapes that it accepts, `bounds` the ends of the sizes of each dimension."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2, 4))], [("y", datatypes.Array(2, 4))], disable_rank5_shape_mapping=True)
    builder.add_elementwise("double", input_names=["x"], output_name="y", mode="MULTIPLY", alpha=2.0)
    if shapes is not None:
        flexible_shape_utils.add_multiarray_ndshape_enumeration(builder.spec, "x", shapes)
    if bounds is not None:
        lower, upper = [low for low, _ in bounds], [high for _, high in bounds]
        flexible_shape_utils.set_multiarray_ndshape_range(builder.spec, "x", lower, upper)
    coremltools.utils.save_spec(builder.spec, str(path))
    return path


def picture(path: Path) -> Path:
    """Save an `.mlmodel` whose input is a colour image of 8 × 6 pixels."""
    builder = NeuralNetworkBuilder([("image", datatypes.Array(3, 6, 8))], [("y", datatypes.Array(3, 6, 8))])
    builder.add_elementwise("double", input_names=["image"], output_name="y", mode="MULTIPLY", alpha=2.0)
    builder.set_pre_processing_parameters(image_input_names=["image"], is_bgr=False)
    coremltools.utils.save_spec(builder.spec, str(path))
    return path


def with_dictionary(path: Path) -> Path:
    spec = coremltools.utils.load_spec(str(network(path)))
    spec.description.input[0].type.dictionaryType.stringKeyType.SetInParent()
    coremltools.utils.save_spec(spec, str(path))
    return path
