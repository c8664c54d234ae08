"""Maps each kind of work to its code at the worker. A new kind needs one file beside this one, and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from shared.errors import EngineUnavailable

if TYPE_CHECKING:
    from worker.kinds.base import Measure


@dataclass(frozen=True)
class KindEntry:
    """Says what the rest of the worker must know about a kind.

    Attributes:
        target: Where it is, as `module:Class`.
        preload: The modules that its measured part uses, so that the guard imports them once.
        in_engine: Whether the work runs in the engine of the job's capability. If so, a capability without an engine is refused.
    """

    target: str
    preload: tuple[str, ...] = ()
    in_engine: bool = True


KINDS: dict[str, KindEntry] = {
    "inference": KindEntry("worker.kinds.inference:InferenceMeasure", preload=("worker.engines.inputs",)),
    # Follows a known schedule and needs no model, so that tests can check what every kind relies on. No recipe can ask for it.
    "fake": KindEntry("worker.kinds.fake:FakeMeasure", in_engine=False),
}


def entry_of(kind: str) -> KindEntry:
    """Return the entry of a kind of work.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    entry = KINDS.get(kind)
    if entry is None:
        raise EngineUnavailable(
            f"this worker cannot measure work of the kind {kind!r}; it knows: {', '.join(KINDS)}. Update the worker, or choose another"
        )
    return entry


def resolve(kind: str) -> type[Measure]:
    """Import and return the class of a kind of work.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    module, _, name = entry_of(kind).target.partition(":")
    measure: type[Measure] = getattr(import_module(module), name)
    return measure


def preloads(kind: str) -> tuple[str, ...]:
    """Return the modules of a kind that the guard imports before any job: what it needs, and its own.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    entry = entry_of(kind)
    return (*entry.preload, entry.target.partition(":")[0])
