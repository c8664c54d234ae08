"""Defines the kind `generation`: one job measures a language model that runs in the measured process. Its unit of work is one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from shared.engine_options import EngineOptions
from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.jobs import MAX_INFERENCES, MAX_REPEATS
from shared.kinds.base import Spec
from shared.kinds.generation_figures import FIGURES
from shared.kinds.generation_task import TaskSpec, task_spec
from shared.kinds.inference import MODEL
from shared.strict import Strict

MAX_TOKENS = 1_000_000  # of one sequence
DATASET = "dataset"  # the role of a file with the user's own documents
OF_A_TASK = ("dataset", "prompt", "max_tokens", "evaluate")  # the keys of a recipe that stand beside `task`
# The options that have an effect on this kind of work. Not every runtime has each of them: a worker refuses those that it would ignore.
OPTIONS = frozenset({"threads", "inter_threads", "dtype", "compile", "batch_size", "seed"})
OPTIONS |= {"tensor_parallel_size", "max_model_len", "gpu_memory_utilization"}


class PromptsSection(Strict):
    """Holds the section `prompts` of a recipe: how many tokens are read and written, by how many calls."""

    input_tokens: int = Field(default=128, ge=1, le=MAX_TOKENS, description="how many tokens each prompt has; they are drawn at random")
    output_tokens: int = Field(
        default=32,
        ge=1,
        le=MAX_TOKENS,
        description="how many new tokens each call writes: exactly so many, whatever the model would end with",
    )
    requests: int = Field(
        default=10,
        ge=1,
        le=MAX_INFERENCES,
        description="how many calls each pass of a repeat makes: streamed, plain, and with one new token",
    )


class DecodingSection(Strict):
    """Holds the section `decoding` of a recipe: how the next token is chosen, and which code computes the attention."""

    temperature: float = Field(
        default=0.0, ge=0, le=100, allow_inf_nan=False, description="0 takes the likeliest token each time; above 0, tokens are drawn"
    )
    top_k: int | None = Field(default=None, ge=1, le=MAX_TOKENS, description="draws among this many likeliest tokens only")
    top_p: float | None = Field(
        default=None, gt=0, le=1, allow_inf_nan=False, description="draws among the likeliest tokens that have this probability together"
    )
    attention: Literal["eager", "sdpa"] | None = Field(
        default=None, description="the implementation of the attention; if it is left out, the runtime chooses, and the result says which"
    )


class GenerationSpec(Spec):
    """Says what a language model reads and writes in each call, how often it is called, and with which options.

    With a `task`, it reads the documents of the task, and `prompts` means nothing.
    """

    takes_snapshots: ClassVar[bool] = True
    kind: Literal["generation"] = "generation"
    prompts: PromptsSection = PromptsSection()
    task: TaskSpec | None = None
    decoding: DecodingSection = DecodingSection()
    loads: int = Field(default=0, ge=0, le=MAX_REPEATS, description="how many further processes only load the model")
    options: EngineOptions = EngineOptions()

    @model_serializer(mode="wrap")
    def _either(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what does not apply. So a job without a task is what workers of the version before know."""
        content: dict[str, Any] = handler(self)
        content.pop("prompts" if self.task is not None else "task", None)
        return content

    def said(self, repeats: int) -> str:
        if self.task is not None:
            return f"{repeats} x {self.task.name}, at most {self.task.max_tokens} tokens each"
        return f"{repeats} x {self.prompts.requests} x {self.prompts.output_tokens} tokens"

    def kept_tokens(self) -> int:
        if self.task is not None:  # how long the documents are is known when the model's own tokenizer has read them
            return self.task.max_tokens
        return (self.options.batch_size or 1) * (self.prompts.input_tokens + self.prompts.output_tokens)

    def asked_dtype(self) -> str | None:
        return self.options.dtype

    def devices(self) -> int:
        return self.options.tensor_parallel_size or 1

    def check(self, repeats: int) -> None:
        check_options(self.options)
        check_decoding(self.decoding)
        if self.task is not None:
            if self.options.batch_size not in (None, 1):
                raise ValueError(
                    f"options.batch_size {self.options.batch_size} cannot stand beside `task`: each document is a call of its own, because "
                    "they differ in length; leave it out"
                )
            return
        stamps = repeats * self.prompts.requests * self.prompts.output_tokens
        if stamps > 10 * MAX_INFERENCES:
            raise ValueError(
                f"{self.prompts.requests} requests of {self.prompts.output_tokens} tokens in {repeats} repeats are more than "
                f"{10 * MAX_INFERENCES} stamps; measure fewer, or split the job"
            )


def check_options(options: EngineOptions) -> None:
    """Check that every option that is set has an effect on a language model.

    Raises:
        ValueError: one of them has none.
    """
    for name in options.model_fields_set:
        if name not in OPTIONS and getattr(options, name) is not None:
            known = ", ".join(f"options.{one}" for one in sorted(OPTIONS))
            raise ValueError(f"options.{name} has no effect on a language model: leave it out; there are {known}")


def check_decoding(decoding: DecodingSection) -> None:
    """Check that `top_k` and `top_p` have an effect.

    Raises:
        ValueError: they have none, because the likeliest token is taken.
    """
    if decoding.temperature == 0 and (lost := [name for name in ("top_k", "top_p") if getattr(decoding, name) is not None]):
        raise ValueError(
            f"decoding.{lost[0]} has no effect at the temperature 0, where nothing is drawn: give a temperature, or leave it out"
        )


class Generation:
    """Describes the kind `generation`; see `shared.kinds.base.Kind`."""

    name = "generation"
    spec = GenerationSpec
    roles = (MODEL,)
    optional_roles: tuple[str, ...] = (DATASET,)
    marks = ("prompts", "task")
    keys = frozenset(
        {"model", "models", "prompts", "task", *OF_A_TASK, "decoding", "loads", "warmup", "stop", "options"},
    )
    section = ""
    in_short_form = False
    default_repeats = 3  # loading a language model takes long
    headline = "tokens_per_s"
    figures: Mapping[str, FigureKind] = FIGURES

    def default_on(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        del content
        return ()

    def spec_of(self, settings: Any) -> GenerationSpec:
        task = None
        if settings.task is not None:
            task = task_spec(settings.task, **{key: getattr(settings, key) for key in OF_A_TASK})
        return GenerationSpec(
            prompts=settings.prompts or PromptsSection(),
            task=task,
            decoding=settings.decoding or DecodingSection(),
            loads=settings.loads,
            options=settings.options,
        )

    def target_of(self, settings: Any) -> None:
        del settings

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        model = inputs.get(MODEL)
        return model.name if model is not None else spec.kind

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        del written_in
        return stored
