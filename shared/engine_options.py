"""Defines the options of a runtime, and the values of a model's inputs, as a recipe states them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from shared.storable import LARGEST
from shared.strict import Strict

MAX_INPUTS = 1_000  # a decoder of 100 layers has 400 tensors of past keys and values
MAX_ELEMENTS = 65_536  # elements of an array in a recipe; larger arrays must be in a file
MAX_ITEMS = 1_000  # items of one list in a recipe
MAX_NESTING = 8
MAX_TEXT = 4_096
Size = Annotated[int, Field(ge=0, le=2**31 - 1)]
Whole = Annotated[int, Field(ge=-(2**63), le=2**64 - 1)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Scalar = bool | Whole | Real | Text


def _bounded_array(array: Any) -> Any:
    _count_elements(array, 0)
    return _in_lists(array)


def _in_lists(array: Any) -> Any:
    """Return an array as nested lists, whichever sequences it was made of, so that equal arrays are equal values."""
    return [_in_lists(part) for part in array] if isinstance(array, list | tuple) else array


def _count_elements(array: Any, depth: int) -> int:
    if isinstance(array, list | tuple):
        if depth == MAX_NESTING:
            raise ValueError(f"an array has at most {MAX_NESTING} dimensions")
        count = sum(_count_elements(part, depth + 1) for part in array)
        if count > MAX_ELEMENTS:
            raise ValueError(
                f"an array in a recipe has at most {MAX_ELEMENTS} elements; put a larger one into an .npz file beside the model"
            )
        return count
    if isinstance(array, str) and len(array) > MAX_TEXT:
        raise ValueError(f"a text has at most {MAX_TEXT} characters")
    if not isinstance(array, bool | int | float | str) or (not isinstance(array, str) and not -LARGEST <= array <= LARGEST):
        raise ValueError("an array is made of finite numbers, booleans and texts, in lists")
    return 1


def _array_schema(depth: int) -> dict[str, Any]:
    """Return the JSON schema of what `_count_elements` accepts, for the OpenAPI file."""
    one: list[dict[str, Any]] = [{"type": "number"}, {"type": "boolean"}, {"type": "string", "maxLength": MAX_TEXT}]
    return {"anyOf": one if depth == MAX_NESTING else [*one, {"type": "array", "items": _array_schema(depth + 1), "maxItems": MAX_ITEMS}]}


class ExactValues(Strict):
    """Gives every element of an input: `{array: [[1, 2, 3]]}`."""

    array: Annotated[Any, AfterValidator(_bounded_array), WithJsonSchema(_array_schema(0))]


InputValue = Scalar | Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=MAX_ITEMS)] | ExactValues


class EngineOptions(Strict):
    """Sets options of the runtime. An option that is not set has the runtime's default, which the result records."""

    providers: tuple[str, ...] | None = Field(
        default=None,
        max_length=8,
        description="execution providers, by the names that the runtime uses, in the order in which it tries them",
    )
    threads: int | None = Field(default=None, ge=1, le=4096, description="how many threads work on one operator")
    inter_threads: int | None = Field(
        default=None, ge=1, le=4096, description="how many operators run at the same time, each in a thread of its own"
    )
    graph: Literal["disabled", "basic", "extended", "layout", "all"] | None = Field(
        default=None, description="how far the runtime optimises the graph"
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None, description="the type to which the runtime converts the model's weights and its inputs of floating-point numbers"
    )
    compile: Literal["none", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = Field(
        default=None, description="the mode of `torch.compile`; `none` runs the model as it is"
    )
    tensor_parallel_size: int | None = Field(
        default=None, ge=1, le=1024, description="how many devices share each layer of a language model (vLLM)"
    )
    max_model_len: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000,
        description="how many tokens of prompt and answer together a language model makes room for (vLLM); otherwise its whole context",
    )
    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="the fraction of the device's memory that a language model takes (vLLM): its weights, and room for keys and values. On "
        "a CPU it is a fraction of the main memory",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="size of the batch dimension, which is found by its name, or because it is the first dimension of all inputs",
    )
    shapes: dict[str, tuple[int, ...]] | None = Field(default=None, description="the shape of each input, by the input's name")
    dims: dict[str, Size] | None = Field(
        default=None, max_length=MAX_INPUTS, description="the size of each symbol, for all inputs at once: `{batch: 8, sequence: 128}`"
    )
    values: dict[str, InputValue] | None = Field(
        default=None,
        max_length=MAX_INPUTS,
        description="the values of each input, by the input's name: a constant, a range `[low, high]`, a list of "
        "texts, `{array: …}`, or a file (`.npz`, `.npy`)",
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="the seed for the generated inputs")
