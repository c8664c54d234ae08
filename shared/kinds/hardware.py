"""Defines the kind `hardware`: one job measures the device itself. Its unit of work is one call of a test's kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from shared.errors import nearest
from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.jobs import DEFAULT_REPEATS
from shared.kinds.base import Spec
from shared.kinds.hardware_figures import FIGURES
from shared.strict import Strict

# Every test that a recipe may name, and what it measures. The registry at the worker has the same names, for each capability.
TESTS: Mapping[str, str] = {
    "bandwidth": "memory bandwidth: copy, add and triad",
    "flops": "floating-point operations per second of matrix products, by precision",
    "latency": "how long one access to memory, one empty call and one kernel launch take",
}
STANDARD = ("bandwidth", "flops", "latency")  # those that are measured if a recipe names none
MAX_SECONDS = 3_600


def _each_once(tests: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(tests)) < len(tests):
        raise ValueError("each test is listed once")
    return tests


def _known_test(name: str) -> str:
    if name not in TESTS:
        raise ValueError(f"there is no test {name!r:.100} of a device: {nearest(name, list(TESTS))}")
    return name


_Listed = (Field(min_length=1, max_length=20), AfterValidator(_each_once))
KnownTest = Annotated[str, AfterValidator(_known_test), Field(json_schema_extra={"enum": list(TESTS)})]
StoredTest = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]  # a newer version, or one with more tests, may have stored the job


class HardwareSection(Strict):
    """Holds the section `hardware` of a recipe."""

    tests: Annotated[tuple[KnownTest, ...], *_Listed] = Field(
        default=STANDARD, description="what is measured: " + "; ".join(f"`{name}` ({what})" for name, what in TESTS.items())
    )
    seconds: float = Field(
        default=60, ge=1, le=MAX_SECONDS, description="about how long one job measures, all tests and repeats together, in seconds"
    )


class HardwareSpec(Spec):
    """Says which tests of the device run, and how long they take together."""

    kind: Literal["hardware"] = "hardware"
    tests: Annotated[tuple[StoredTest, ...], *_Listed] = STANDARD
    seconds: float = Field(default=60, ge=1, le=MAX_SECONDS)


class Hardware:
    """Describes the kind `hardware`; see `shared.kinds.base.Kind`."""

    name = "hardware"
    spec = HardwareSpec
    roles: tuple[str, ...] = ()
    optional_roles: tuple[str, ...] = ()
    marks = ("hardware",)
    keys = frozenset({"hardware"})
    section = "hardware"
    in_short_form = True
    default_repeats = DEFAULT_REPEATS
    headline = "peak_gb_per_s"
    figures: Mapping[str, FigureKind] = FIGURES

    def default_on(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        del content
        return ("hardware.cpu",)

    def spec_of(self, settings: Any) -> HardwareSpec:
        section = settings.hardware or HardwareSection()
        return HardwareSpec(tests=section.tests, seconds=section.seconds)

    def target_of(self, settings: Any) -> None:
        del settings

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        del inputs
        return "+".join(spec.tests)[:255] if isinstance(spec, HardwareSpec) else spec.kind

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        del written_in
        return stored
