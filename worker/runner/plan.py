"""Says what the guard of some work must be like. Work with equal plans shares a guard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from worker.engines.registry import preloadable
from worker.kinds import registry as kinds


@dataclass(frozen=True)
class GuardPlan:
    """Describes a guard.

    Attributes:
        preload: The modules that are imported before anything is measured.
        forks: Whether it may fork.
        environment: Variables that its measured processes get.
        credentials: The names of the variables with keys and passwords that they get from the worker. Every other one is left out.
    """

    preload: tuple[str, ...] = ()
    forks: bool = True
    environment: tuple[tuple[str, str], ...] = ()
    credentials: tuple[str, ...] = ()


@cache
def plan_for(kind: str, capability: str) -> GuardPlan:
    """Return the plan for work of one kind on one capability. It does not change while this process lives.

    Raises:
        EngineUnavailable: This worker does not know the kind, or nothing here runs this capability.
    """
    of_kind, entry = kinds.preloads(kind), kinds.entry_of(kind)
    place, secret = kinds.place_of(kind, capability), kinds.credentials_of(kind, capability)
    if place is None:
        return GuardPlan(of_kind, credentials=secret)
    libraries = preloadable(capability) if entry.in_engine and not entry.imports else ()
    return GuardPlan((*libraries, *of_kind), place.forks, tuple(sorted(place.environment.items())), secret)
