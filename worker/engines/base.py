"""The port of every engine.

Nothing here imports pydantic or numpy at run time: the guard imports this module, and what the guard has resident
is the baseline of each measured process (pydantic alone is 16 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shared.errors import JobError

    Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Options:
    """`shared.workloads.EngineOptions` without pydantic, field by field; None means the runtime's own default."""

    providers: tuple[str, ...] | None = None
    threads: int | None = None
    inter_threads: int | None = None
    graph: str | None = None
    batch_size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    dims: Mapping[str, int] | None = None
    values: Mapping[str, Any] | None = None
    seed: int = 0

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> Options:
        known = dict(options)
        if known.get("providers") is not None:
            known["providers"] = tuple(known["providers"])
        if known.get("shapes") is not None:
            known["shapes"] = {name: tuple(shape) for name, shape in known["shapes"].items()}
        return cls(**known)


@dataclass(frozen=True)
class InputSpec:
    """One input of a model, as the runtime reports it.

    `element_type` is the runtime's word (`float`, `int64`, `bfloat16`, `string`; anything that is no tensor keeps its
    whole type, e.g. `seq(tensor(float))`). In `shape` a name or None is a symbolic dimension; None for the whole
    shape means that the model does not say its rank.
    """

    name: str
    element_type: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Limits:
    """The values that the loaded model can take for one input, as far as its graph shows.

    Attributes:
        low, high: whole numbers below or above are refused by the model; None where nothing is known.
        because: the reason for `low` and `high`, as the end of a sentence: `it indexes a table of 7 rows`.
        words: for texts or whole numbers, the values that the model knows; empty where nothing is known.
        rule: what to use when the recipe states no value: one number for all, or one for each element.
        is_length: whether it holds lengths of a sequence whose size the graph does not show.
        steers: what the input decides (`chooses the branch of an If`); such a value is never drawn at random.
        columns: limits of single positions along the last axis, where they differ from the rest.
    """

    low: int | None = None
    high: int | None = None
    because: str = ""
    words: tuple[str | int, ...] = ()
    rule: bool | float | tuple[int, ...] | None = None
    is_length: bool = False
    steers: str = ""
    columns: Mapping[int, Limits] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What the runtime reports of itself and of the loaded model, and the versions of the libraries behind it."""

    runtime: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """One model in one process: load, bind, call, unload, in this order."""

    def load(self, model: Path, options: Options, capability: str) -> None:
        """Make the model ready to run; this call is what is timed as the load.

        Raises:
            ModelInvalid: the runtime cannot read or run the model.
            EngineUnavailable: the capability is not really there (a provider that fell back).
        """

    def signature(self) -> list[InputSpec]:
        """The inputs that the loaded model asks for."""

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        """What the model can take for each input, when the inputs have these shapes; an input without limits is left out."""

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """A callable without arguments that is exactly one inference, and nothing more: it is the measured call."""

    def facts(self) -> Facts:
        """What the runtime reports; called after the measurement, never within it."""

    def explain(self, error: Exception) -> JobError | None:
        """The reason for an error that the bound callable raised, for a person; None when it is not the runtime's."""

    def unload(self) -> None: ...
