"""Defines the kind `fake`: one job follows a known schedule. Tests of what all kinds have in common use it; no recipe can ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.jobs import DEFAULT_REPEATS
from shared.kinds.base import Spec

Seconds = Annotated[float, Field(ge=0, le=60)]


class FakeSpec(Spec):
    """Says how many steps are timed, how long each takes (the list starts again after its end), and how long they are made ready."""

    kind: Literal["fake"] = "fake"
    steps: int = Field(default=3, ge=1, le=100_000)
    step_s: tuple[Seconds, ...] = Field(default=(0.001,), min_length=1, max_length=100)
    prepare_s: Seconds = 0.0
    refuses: str = Field(default="", max_length=200, description="the reason for which the work cannot be done; empty if it can")


class Fake:
    """Describes the kind `fake`; see `shared.kinds.base.Kind`."""

    name = "fake"
    spec = FakeSpec
    roles: tuple[str, ...] = ()
    optional_roles: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    section = ""
    in_short_form = True
    default_repeats = DEFAULT_REPEATS
    headline = "fake_per_s"
    figures: Mapping[str, FigureKind] = {
        "fake_per_s": FigureKind("1/s", "higher", "steps per second, one after the other"),
        "fake_ms": FigureKind("ms", "lower", "the median time of one step"),
    }

    def default_on(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        del content
        return ()

    def spec_of(self, settings: Any) -> FakeSpec:
        del settings
        return FakeSpec()

    def target_of(self, settings: Any) -> None:
        del settings

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        del inputs
        return spec.kind

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        del written_in
        return stored
