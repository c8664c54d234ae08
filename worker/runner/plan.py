"""Says what the guard of some work must be like. Work with equal plans shares a guard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from worker.engines.registry import entry_of, preloadable
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
        EngineUnavailable: This worker does not know the kind, or it needs an engine, and no engine runs this capability.
    """
    of_kind = kinds.preloads(kind)
    entry = kinds.entry_of(kind)
    if not entry.in_engine:
        return GuardPlan(of_kind)
    engine = entry_of(capability)
    libraries = () if entry.imports else preloadable(capability)
    return GuardPlan((*libraries, *of_kind), engine.forks, tuple(sorted(engine.environment.items())))
