"""Says what the guard of some work must be like. Work with equal plans shares a guard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from worker.engines.registry import preloadable
from worker.kinds import registry as kinds


@dataclass(frozen=True)
class GuardPlan:
    """Describes a guard: the modules that are imported before anything is measured, whether it may fork, and its environment variables."""

    preload: tuple[str, ...] = ()
    forks: bool = True
    environment: tuple[tuple[str, str], ...] = ()


@cache
def plan_for(kind: str, capability: str) -> GuardPlan:
    """Return the plan for work of one kind on one capability. It does not change while this process lives.

    Raises:
        EngineUnavailable: This worker does not know the kind, or nothing here runs this capability.
    """
    of_kind, entry = kinds.preloads(kind), kinds.entry_of(kind)
    place = kinds.place_of(kind, capability)
    if place is None:
        return GuardPlan(of_kind)
    libraries = preloadable(capability) if entry.in_engine and not entry.imports else ()
    return GuardPlan((*libraries, *of_kind), place.forks, tuple(sorted(place.environment.items())))
