"""Holds what every operation works with. Each process makes one context and passes it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.dispatch.base import DispatchQueue
from orchestrator.operations.varied import Varied
from orchestrator.registry import Registry
from orchestrator.settings import Settings
from orchestrator.store import Store
from shared.clock import Clock


@dataclass(frozen=True)
class Context:
    settings: Settings
    store: Store
    registry: Registry
    queue: DispatchQueue
    clock: Clock
    wake_reporter: Callable[[], None] = lambda: None  # called when a campaign may have ended, so that its files are written
    wake_scorer: Callable[[], None] = lambda: None  # called when answers to a task wait to be judged
    varied: Varied = field(default_factory=Varied)
    unjudged: set[str] = field(default_factory=set)  # campaigns whose answers this process cannot judge, because of an error
    git_commit: str = ""  # the commit of the checkout that this process was started from
