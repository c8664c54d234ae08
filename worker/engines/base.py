"""The port of every engine.

This module imports neither pydantic nor numpy at run time. The guard imports it, and the memory of the guard is the baseline
of each measured process (pydantic alone takes 16 MB).
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

    `element_type` is the runtime's word: `float`, `int64`, `bfloat16`, `string`. An input that is not a tensor keeps its whole type,
    such as `seq(tensor(float))`. A name or None in `shape` is a free dimension. The whole shape is None when the model does not
    say its rank.
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
    """What the runtime reports about itself and about the loaded model, and the versions of the libraries behind it."""

    runtime: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs one model in one process. The calls come in this order: load, bind, the bound call, unload."""

    def load(self, model: Path, options: Options, capability: str) -> None:
        """Make the model ready to run. The time of this call is the load time.

        Raises:
            ModelInvalid: the runtime cannot read or run the model.
            EngineUnavailable: the capability is not really there, for example because a provider fell back to the CPU.
        """

    def signature(self) -> list[InputSpec]:
        """Return the inputs that the loaded model asks for."""

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        """Return what the model can take for each input when the inputs have these shapes. Inputs without limits are left out."""

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """Return the measured call: a callable without arguments that runs exactly one inference and does nothing else."""

    def facts(self) -> Facts:
        """Return what the runtime reports. This is called after the measurement, never during it."""

    def explain(self, error: Exception) -> JobError | None:
        """Return the reason for an error that the bound call raised, written for a person; None for an error that is not the runtime's."""

    def unload(self) -> None: ...
