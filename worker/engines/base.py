"""Defines the interface that every engine implements.

This module imports neither pydantic nor numpy at run time. The guard imports it, and the memory of the guard is the baseline of
each measured process (pydantic alone takes 16 MB).
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
    """Has the same fields as `shared.workloads.EngineOptions`, without pydantic. None means the runtime's own default."""

    providers: tuple[str, ...] | None = None
    threads: int | None = None
    inter_threads: int | None = None
    graph: str | None = None
    dtype: str | None = None
    compile: str | None = None
    tensor_parallel_size: int | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
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
    """Describes one input of a model, as the runtime reports it.

    `element_type` is the runtime's name: `float`, `int64`, `bfloat16`, `string`. An input that is not a tensor keeps its full type, such
    as `seq(tensor(float))`. A name or None in `shape` is a free dimension. `shape` is None if the model does not state its rank.
    """

    name: str
    element_type: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Limits:
    """Describes the values that the loaded model accepts for one input, as far as its graph shows.

    Attributes:
        low, high: The smallest and the largest whole number that the model accepts. None where this is not known.
        because: The reason for `low` and `high`, as the end of a sentence: `it indexes a table of 7 rows`.
        words: For texts or whole numbers, the values that the model knows. Empty where this is not known.
        rule: The value to use when the recipe states none: one number for all elements, or one for each element.
        is_length: Whether it holds lengths of a sequence whose size the graph does not show.
        steers: What the input decides (`chooses the branch of an If`). Such a value is never drawn at random.
        columns: Limits of single positions along the last axis, where they differ from the rest.
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
    """Holds what the runtime reports about itself and the loaded model, and the versions of the libraries that it uses."""

    runtime: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs one model in one process. The calls come in this order: load, bind, the bound call, unload."""

    def load(self, model: Path, options: Options, capability: str) -> None:
        """Make the model ready to run. The duration of this call is the load time.

        Raises:
            ModelInvalid: The runtime cannot read or run the model.
            EngineUnavailable: The capability is not usable here, for example because a provider fell back to the CPU.
        """

    def signature(self) -> list[InputSpec]:
        """Return the inputs that the loaded model requires."""

    def limits(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Limits]:
        """Return the values that the model accepts for each input when the inputs have these shapes. Inputs without limits are left out."""

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """Return the call to measure: a callable without arguments that runs exactly one inference and does nothing else."""

    def facts(self) -> Facts:
        """Return what the runtime reports. It is called after the measurement, never during it."""

    def explain(self, error: Exception) -> JobError | None:
        """Return the reason for an error of the bound call, in words for the user. None if the error does not come from the runtime."""

    def unload(self) -> None: ...
