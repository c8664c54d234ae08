"""Reads the inputs of a CoreML model from its description, and makes of an array what `MLModel.predict` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import ModelInvalid
from worker.engines.base import InputSpec
from worker.engines.inputs.types import Array

# These are names in ArrayFeatureType.ArrayDataType. `predict` takes float16 as float32, and converts it itself.
_ELEMENTS = {"FLOAT32": "float", "DOUBLE": "double", "INT32": "int32", "FLOAT16": "float16", "INT8": "int8"}
_SCALARS = {"int64Type": "int64", "doubleType": "double", "stringType": "string"}
_NO_UPPER_END = -1


@dataclass(frozen=True)
class CoremlInput:
    """Describes one input.

    Attributes:
        spec: What the rest of the worker sees of it. A flexible dimension is a free one without a name.
        kind: The name of its type in CoreML.
        default: The shape that CoreML takes if nothing else is said. Empty for a scalar.
        choices: The shapes that it accepts, if the model lists them.
        ranges: The smallest and the largest size of each dimension, if the model gives ranges. None for no upper end.
        colours: The colour space of an image.
    """

    spec: InputSpec
    kind: str
    default: tuple[int, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    colours: str = ""

    def check(self, shape: Sequence[int]) -> None:
        """Check that the model accepts a shape.

        Raises:
            ModelInvalid: It does not. The message says which shapes it accepts.
        """
        name, given = self.spec.name, tuple(shape)
        advice = f"give options.shapes: {{{name}: {list(self.default)}}}"
        if self.choices and given not in self.choices:
            shown = " or ".join(str(list(choice)) for choice in self.choices[:8])
            raise ModelInvalid(f"input {name!r} has the shape {list(given)}, but the model accepts {shown} only: {advice}")
        for size, (low, high) in zip(given, self.ranges, strict=False):
            if size < low or (high is not None and size > high):
                shown = ", ".join(f"{least} to {'any' if most is None else most}" for least, most in self.ranges)
                raise ModelInvalid(f"input {name!r} has the shape {list(given)}, but the model accepts {shown}: {advice}")

    def fed(self, array: Array) -> Any:
        """Return an array as `predict` takes it: an image for an image, a plain value for a scalar."""
        if self.kind == "imageType":
            from PIL import Image  # comes with what reads images, which a model without images does not need

            return Image.fromarray(array, "L" if self.colours == "GRAYSCALE" else "RGB")
        return array.item() if self.kind in _SCALARS else array


def read_inputs(description: Any, model: str) -> list[CoremlInput]:
    """Return the inputs of a model's description (`ModelDescription`), without the optional ones.

    Raises:
        ModelInvalid: An input has a type for which no values can be made.
    """
    return [_read(feature, model) for feature in description.input if not feature.type.isOptional]


def _read(feature: Any, model: str) -> CoremlInput:
    kind = str(feature.type.WhichOneof("Type"))
    if kind == "multiArrayType":
        return _array(feature.name, feature.type.multiArrayType, model)
    if kind == "imageType":
        image = feature.type.imageType
        colours = image.ColorSpace.Name(image.colorSpace)
        shape = (int(image.height), int(image.width), *(() if colours == "GRAYSCALE" else (3,)))
        if colours == "GRAYSCALE_FLOAT16":
            raise ModelInvalid(f"{model} takes a grey image of float16 as its input {feature.name!r}, which is not supported")
        return CoremlInput(InputSpec(feature.name, "uint8", shape), kind, shape, colours=colours)
    if kind in _SCALARS:
        return CoremlInput(InputSpec(feature.name, _SCALARS[kind], ()), kind)
    raise ModelInvalid(
        f"{model} has an input {feature.name!r} of CoreML's type {kind.removesuffix('Type')}, for which no values can be made; "
        "arrays, images, numbers and texts can be measured"
    )


def _array(name: str, array: Any, model: str) -> CoremlInput:
    element = array.ArrayDataType.Name(array.dataType)
    if element not in _ELEMENTS:
        raise ModelInvalid(f"{model} has an input {name!r} of CoreML's element type {element}, for which no values can be made")
    default = tuple(int(size) for size in array.shape)
    flexible = array.WhichOneof("ShapeFlexibility")
    choices: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    shape: tuple[int | None, ...] | None = default or None
    if flexible == "enumeratedShapes":
        choices = tuple(tuple(int(size) for size in one.shape) for one in array.enumeratedShapes.shapes)
        same_rank = len({len(choice) for choice in choices}) == 1
        shape = tuple(_only(sizes) for sizes in zip(*choices, strict=True)) if same_rank else None
        default = default or next(iter(choices), ())
    elif flexible == "shapeRange":
        ranges = tuple(
            (int(size.lowerBound), None if size.upperBound == _NO_UPPER_END else int(size.upperBound))
            for size in array.shapeRange.sizeRanges
        )
        shape = tuple(low if low == high else None for low, high in ranges)
        default = default or tuple(low for low, _ in ranges)
    return CoremlInput(InputSpec(name, _ELEMENTS[element], shape), "multiArrayType", default, choices, ranges)


def _only(sizes: Sequence[int]) -> int | None:
    return sizes[0] if len(set(sizes)) == 1 else None
