"""Defines the kind `inference`: one job measures a model file in a runtime. Its unit of work is one timed call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from shared.engine_options import EngineOptions
from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.jobs import DEFAULT_REPEATS, MAX_INFERENCES, MAX_REPEATS
from shared.kinds.base import Spec

MODEL = "model"  # the role of the model among the inputs


def check_samples(inferences: int, repeats: int) -> None:
    """Check the total number of samples of a job.

    Raises:
        ValueError: it is too large, although each of the two numbers is within its own limit.
    """
    if inferences * repeats > 10 * MAX_INFERENCES:
        raise ValueError(
            f"{inferences} inferences in {repeats} repeats are more than {10 * MAX_INFERENCES} samples; measure fewer, or split the job"
        )


class InferenceSpec(Spec):
    """Says how often a model is loaded and called, and with which options."""

    kind: Literal["inference"] = "inference"
    inferences: int = Field(default=10, ge=1, le=MAX_INFERENCES, description="how many calls are timed in each repeat, after the warm-up")
    loads: int = Field(default=0, ge=0, le=MAX_REPEATS, description="how many further processes only load the model")
    options: EngineOptions = EngineOptions()

    def said(self, repeats: int) -> str:
        return f"{repeats} x {self.inferences}"

    def check(self, repeats: int) -> None:
        check_samples(self.inferences, repeats)


class Inference:
    """Describes the kind `inference`; see `shared.kinds.base.Kind`."""

    name = "inference"
    spec = InferenceSpec
    roles = (MODEL,)
    optional_roles: tuple[str, ...] = ()
    marks = ("model", "models")
    keys = frozenset({"model", "models", "inferences", "loads", "warmup", "stop", "options"})
    section = ""
    in_short_form = True
    default_repeats = DEFAULT_REPEATS
    headline = "inference_ms"
    figures: Mapping[str, FigureKind] = {
        "inference_ms": FigureKind("ms", "lower", "the median time of one inference"),
        "load_ms": FigureKind("ms", "lower", "the median time of loading the model"),
        "inference_p90_ms": FigureKind("ms", "lower", "the 90th percentile of all inferences"),
        "inference_p99_ms": FigureKind("ms", "lower", "the 99th percentile of all inferences"),
        "throughput_per_s": FigureKind("1/s", "higher", "inferences per second, one after the other"),
        "samples_per_s": FigureKind("1/s", "higher", "inferences per second, times the batch size"),
        "load_peak_mb": FigureKind("MB", "lower", "the largest memory of the process while it loaded the model"),
        "inference_peak_mb": FigureKind("MB", "lower", "the largest memory of the process during the inferences"),
        "cpu_percent": FigureKind("%", "neither", "the CPU time of the process during the inferences, in percent of one core"),
    }

    def default_on(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        del content
        return ()

    def spec_of(self, settings: Any) -> InferenceSpec:
        return InferenceSpec(inferences=settings.inferences, loads=settings.loads, options=settings.options)

    def target_of(self, settings: Any) -> None:
        del settings

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        model = inputs.get(MODEL)
        return model.name if model is not None else spec.kind

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        return _of_1(stored) if written_in == 1 else stored


# The defaults of the version that wrote format 1, which left out values that were equal to them.
_DEFAULTS_1: dict[str, Any] = {
    "model": {"sha256": None, "size": None, "companions": []},
    "inferences": 10,
    "repeats": 5,
    "loads": 0,
    "warmup": {"min_calls": 10, "min_s": 1.0, "max_s": 30.0},
    "stop": None,
    "options": {"providers": None, "threads": None, "inter_threads": None, "graph": None, "batch_size": None, "shapes": None, "seed": 0},
    "timeout_s": 3_600,
}
_STOP_1: dict[str, Any] = {"max_repeats": 20, "budget_s": 600}


def _of_1(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a workload of format 1 with the values that it left out, two levels deep."""
    content = {**_DEFAULTS_1, **stored}
    for name, inner in _DEFAULTS_1.items():
        if isinstance(inner, Mapping) and isinstance(content[name], Mapping):
            content[name] = {**inner, **content[name]}
    if isinstance(content["stop"], Mapping):
        content["stop"] = _STOP_1 | dict(content["stop"])
    return content
