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
    """Says where a kind is (`module:Class`), and which modules of ours its measured part uses, so that the guard imports them once."""

    target: str
    preload: tuple[str, ...] = ()


KINDS: dict[str, KindEntry] = {
    "inference": KindEntry("worker.kinds.inference:InferenceMeasure", preload=("worker.engines.inputs",)),
    # Follows a known schedule and needs no model, so that tests can check what every kind relies on. No recipe can ask for it.
    "fake": KindEntry("worker.kinds.fake:FakeMeasure"),
}


def resolve(kind: str) -> type[Measure]:
    """Import and return the class of a kind of work.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    entry = KINDS.get(kind)
    if entry is None:
        raise EngineUnavailable(
            f"this worker cannot measure work of the kind {kind!r}; it knows: {', '.join(KINDS)}. Update the worker, or choose another"
        )
    module, _, name = entry.target.partition(":")
    measure: type[Measure] = getattr(import_module(module), name)
    return measure


def preloads(kind: str) -> tuple[str, ...]:
    """Return the modules of a kind that the guard imports before any job: what it needs, and its own. Empty for an unknown kind."""
    entry = KINDS.get(kind)
    return (*entry.preload, entry.target.partition(":")[0]) if entry is not None else ()
