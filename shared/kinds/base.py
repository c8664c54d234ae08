"""Defines what each kind of work says about itself, so that no other code must know which kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from shared.figures import FigureKind
from shared.inputs import ModelRef
from shared.strict import Strict
from shared.targets import Target


class Spec(Strict):
    """Says what one job measures. Each kind of work has a subclass, whose `kind` is a literal with the name of the kind.

    `takes_snapshots` says whether its models are snapshots of language models: folders of files.
    """

    takes_snapshots: ClassVar[bool] = False
    kind: str

    def said(self, repeats: int) -> str:
        """Return how much is measured, in a few words, for lists."""
        return f"{repeats} repeats"

    def kept_tokens(self) -> int | None:
        """Return how many tokens the model has in its cache at most, in all sequences of a call. None if it has no such cache."""
        return None

    def asked_dtype(self) -> str | None:
        """Return the type to which a model's weights are converted, or None if they stay as they are."""
        return None

    def devices(self) -> int:
        """Return over how many GPUs the model is spread."""
        return 1

    def check(self, repeats: int) -> None:
        """Check limits that depend on the largest number of repeats.

        Raises:
            ValueError: the job would be too large.
        """


class Kind(Protocol):
    """Describes one kind of work.

    Attributes:
        name: the name of the kind, as in the JSON of a workload and in the column `Kind` of the CSV.
        spec: the class of its specification.
        roles: the inputs that a job needs, by what they are for. Each role is a key of the workload's JSON.
        optional_roles: the inputs that a job may have besides.
        marks: the keys of a recipe that make it a recipe of this kind; one of them is enough.
        keys: the keys of a recipe that this kind understands, besides those that every kind has.
        section: the key of a recipe whose own keys are those of the specification. Empty if they stand at the top of the recipe.
        in_short_form: whether the short form of `POST /campaigns` can ask for it, because it needs no key of its own.
        default_repeats: the repeats of a recipe that leaves them out.
        headline: the name of the figure that stands for a job in a list.
        figures: the figures of a result, by name.
    """

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> type[Spec]: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def optional_roles(self) -> tuple[str, ...]: ...
    @property
    def marks(self) -> tuple[str, ...]: ...
    @property
    def keys(self) -> frozenset[str]: ...
    @property
    def section(self) -> str: ...
    @property
    def in_short_form(self) -> bool: ...
    @property
    def default_repeats(self) -> int: ...
    @property
    def headline(self) -> str: ...
    @property
    def figures(self) -> Mapping[str, FigureKind]: ...

    def default_on(self, content: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the capabilities of a recipe that leaves out `on`. If there are none, `on` is needed.

        Args:
            content: the recipe as it is written, before it is checked.
        """

    def spec_of(self, settings: Any) -> Spec:
        """Return the specification of a job.

        Args:
            settings: an object that has the recipe's keys of this kind as attributes, with validated values (a `Cell`).
        """

    def target_of(self, settings: Any) -> Target | None:
        """Return what a load is sent to, or None for a kind that needs no service. The argument is that of `spec_of`."""

    def title(self, spec: Spec, inputs: Mapping[str, ModelRef]) -> str:
        """Return what lists and reports call the job, at most 255 characters."""

    def upgrade(self, stored: dict[str, Any], written_in: int) -> dict[str, Any]:
        """Return a stored workload as this version would have stored it.

        Args:
            stored: the JSON of a workload, without its format number.
            written_in: the format number that it was stored with; see `orchestrator.domain.stored`.
        """
