"""Defines the workload of a job: the model, the number of runs, and the options of the runtime."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from shared.content import Content, beside, content_hash
from shared.external_data import VALUE_FILES, is_inside
from shared.jobs import DEFAULT_REPEATS, DEFAULT_TIMEOUT_S, MAX_INFERENCES, MAX_REPEATS, MAX_TIMEOUT_S
from shared.names import OneLine
from shared.storable import LARGEST


class Strict(BaseModel):
    """Is the base of pydantic models that reject unknown keys and do not convert types. So `"10"` is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _relative(name: str) -> str:
    if not is_inside(name):
        raise ValueError(f"{name!r:.300} is no relative path inside the model's own folder, written with `/`")
    return beside(name)


class Companion(Strict):
    """Describes a file in the model's folder that the model needs, such as ONNX external data. It is identified by its SHA-256."""

    name: Annotated[str, AfterValidator(_relative)] = Field(
        min_length=1, max_length=4096, description="the path of the file, from the model's folder"
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


def _each_name_once(companions: tuple[Companion, ...]) -> tuple[Companion, ...]:
    seen: set[str] = set()
    for companion in companions:
        if companion.name in seen:
            raise ValueError(f"{companion.name!r:.300} is listed twice; a file beside the model has one content")
        seen.add(companion.name)
    return companions


Companions = Annotated[tuple[Companion, ...], AfterValidator(_each_name_once)]


class ModelRef(Strict):
    """Says where a model comes from.

    `source` is `http(s)://…`, `hf://…`, `file://…` (on the worker's disk) or `sha256:<hex>` (uploaded to the orchestrator).
    """

    source: OneLine = Field(min_length=1, max_length=4096)
    name: OneLine = Field(min_length=1, max_length=255, description="the file name that reports show")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the model file alone")
    size: int | None = Field(default=None, ge=0, description="size of the model file alone, in bytes")
    companions: Companions = ()

    @property
    def content_sha256(self) -> str | None:
        """Return the SHA-256 of the model file with its weights; see `shared.content`.

        Return None if it is not known before a worker fetches the model.
        """
        if self.sha256 is None or self.size is None or not self.source.startswith("sha256:"):
            return None
        weights = [one for one in self.companions if not one.name.endswith(VALUE_FILES)]  # input values are not part of the model
        return content_hash(Content(self.sha256, self.size), {one.name: Content(one.sha256, one.size) for one in weights})


class Warmup(Strict):
    """Sets the warm-up of each repeat.

    It lasts until both `min_calls` and `min_s` are reached. Except for the first call, no call starts after `max_s`.
    """

    min_calls: int = Field(default=10, ge=0, le=100_000, description="the least number of warm-up calls")
    min_s: float = Field(default=1.0, ge=0, le=3_600, description="the least time of the warm-up, in seconds")
    max_s: float = Field(
        default=30.0, ge=0, le=3_600, description="the longest time of the warm-up, in seconds; one call is made in any case"
    )


class StopRule(Strict):
    """Runs as many repeats as are needed to make the 95 % interval of the median as narrow as `precision`.

    The first five repeats determine this number (Stein's two-stage rule). `max_repeats` and `budget_s` can end the job earlier. The
    result then says which precision was reached. Three repeats run even if they take longer than `budget_s`.
    """

    precision: float = Field(gt=0, lt=1, description="the wanted half-width of the median's 95 % interval, as a fraction of the median")
    max_repeats: int = Field(default=20, ge=2, le=MAX_REPEATS, description="the most fresh processes that measure")
    budget_s: float = Field(
        default=600,
        gt=0,
        le=MAX_TIMEOUT_S,
        description="no further repeat begins after this time, in seconds; three repeats are made in any case",
    )


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
    return array


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


def check_samples(inferences: int, repeats: int) -> None:
    """Check the total number of samples of a job.

    Raises:
        ValueError: it is too large, although each of the two numbers is within its own limit.
    """
    if inferences * repeats > 10 * MAX_INFERENCES:
        raise ValueError(
            f"{inferences} inferences in {repeats} repeats are more than {10 * MAX_INFERENCES} samples; measure fewer, or split the job"
        )


class Workload(Strict):
    """Holds the work of one job in the form in which it is sent to the worker."""

    model: ModelRef
    inferences: int = Field(default=10, ge=1, le=MAX_INFERENCES, description="how many calls are timed in each repeat, after the warm-up")
    repeats: int = Field(default=DEFAULT_REPEATS, ge=1, le=MAX_REPEATS, description="how many fresh processes measure")
    loads: int = Field(default=0, ge=0, le=MAX_REPEATS, description="how many further processes only load the model")
    warmup: Warmup = Warmup()
    stop: StopRule | None = None
    options: EngineOptions = EngineOptions()
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S)

    @model_validator(mode="after")
    def _bounded_samples(self) -> Workload:
        check_samples(self.inferences, self.stop.max_repeats if self.stop else self.repeats)
        return self
