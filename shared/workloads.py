"""Defines the workload of a job: what is measured, on which inputs, and how often it is repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.jobs import DEFAULT_REPEATS, DEFAULT_TIMEOUT_S, MAX_REPEATS, MAX_TIMEOUT_S
from shared.kinds.base import Spec
from shared.kinds.inference import MODEL, InferenceSpec
from shared.kinds.registry import DEFAULT_KIND, AnySpec, kind_named
from shared.repetition import StopRule, Warmup
from shared.strict import Strict
from shared.targets import Target

Wanted = TypeVar("Wanted", bound=Spec)


class Workload(Strict):
    """Holds the work of one job in the form in which it is sent to the worker. It is the envelope that every kind of work has.

    As JSON it is one flat object: the keys of `spec` and the inputs stand beside `repeats` and `timeout_s`, and an inference leaves out its
    `kind`. This is the form that messages and rows had before there was a second kind; see decision 0034.
    """

    spec: AnySpec
    inputs: dict[str, ModelRef] = Field(default_factory=dict, description="the files that the job needs, by what they are for")
    target: Target | None = None
    repeats: int = Field(default=DEFAULT_REPEATS, ge=1, le=MAX_REPEATS, description="how many fresh processes measure")
    warmup: Warmup = Warmup()
    stop: StopRule | None = None
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, ge=1, le=MAX_TIMEOUT_S)

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def title(self) -> str:
        """Return what lists and reports call the job: for an inference, the model's name."""
        return kind_named(self.kind).title(self.spec, self.inputs)

    @property
    def model(self) -> ModelRef:
        """Return the model of a job that has one."""
        return self.inputs[MODEL]

    @property
    def most_repeats(self) -> int:
        return self.stop.max_repeats if self.stop else self.repeats

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or "spec" in content:
            return content
        rest = {key: _as_read(value) for key, value in content.items()}
        kind = kind_named(rest.pop("kind", DEFAULT_KIND))
        spec = {key: rest.pop(key) for key in kind.spec.model_fields.keys() & rest.keys()}
        inputs = {role: rest.pop(role) for role in (*kind.roles, *kind.optional_roles) if role in rest}
        return {**rest, "spec": {"kind": kind.name, **spec}, "inputs": inputs}

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        spec, inputs, target = content.pop("spec"), content.pop("inputs"), content.pop("target", None)
        if spec.get("kind") == DEFAULT_KIND:
            del spec["kind"]
        return {**inputs, **spec, **content, **({} if target is None else {"target": target})}

    @model_validator(mode="after")
    def _whole(self) -> Workload:
        kind = kind_named(self.kind)
        if missing := [role for role in kind.roles if role not in self.inputs]:
            raise ValueError(f"a job of the kind {self.kind} needs {' and '.join(missing)}")
        self.spec.check(self.most_repeats)
        return self


def _as_read(value: Any) -> Any:
    """Return a value of parsed JSON with its lists as tuples: the fields are strict, and a validator that runs before them sees lists."""
    if isinstance(value, list):
        return tuple(map(_as_read, value))
    if isinstance(value, dict):
        return {key: _as_read(inner) for key, inner in value.items()}
    return value


def inference_workload(
    model: ModelRef,
    *,
    inferences: int = 10,
    loads: int = 0,
    options: EngineOptions | None = None,
    repeats: int = DEFAULT_REPEATS,
    warmup: Warmup | None = None,
    stop: StopRule | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Workload:
    """Return the workload of an inference job."""
    return Workload(
        spec=InferenceSpec(inferences=inferences, loads=loads, options=options or EngineOptions()),
        inputs={MODEL: model},
        repeats=repeats,
        warmup=warmup or Warmup(),
        stop=stop,
        timeout_s=timeout_s,
    )


def inference_of(workload: Workload) -> InferenceSpec:
    """Return what an inference job measures.

    Raises:
        TypeError: the job is of another kind.
    """
    return spec_as(workload, InferenceSpec)


def spec_as(workload: Workload, wanted: type[Wanted]) -> Wanted:
    """Return the specification of a workload as one kind's class.

    Raises:
        TypeError: the workload is of another kind.
    """
    if not isinstance(workload.spec, wanted):
        raise TypeError(f"a workload of the kind {workload.kind} has no {wanted.__name__}")
    return workload.spec
