"""Maps each kind of work to its code at the worker. A new kind needs one file beside this one, and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.capabilities import kinds_of
from shared.errors import EngineUnavailable
from worker.engines import registry as engines
from worker.plug_ins import named
from worker.plug_ins import why_not as why_absent

if TYPE_CHECKING:
    from worker.hardware import Hardware
    from worker.kinds.base import Measure


class Place(Protocol):
    """Says how the measured processes of some work start."""

    @property
    def forks(self) -> bool: ...
    @property
    def environment(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class KindEntry:
    """Says what the rest of the worker must know about a kind.

    Attributes:
        target: Where it is, as `module:Class`.
        preload: The modules that its measured part uses, so that the guard imports them once.
        in_engine: Whether the work runs in the engine of the job's capability. If so, a capability without an engine is refused.
        present: For work that runs in no engine: a function, as `module:name`, that gets a capability and the `Hardware`. It returns why
            the work cannot be done here, or an empty text if it really can.
        runs_in: For work that runs in a registry of its own: a function, as `module:name`, that gets a capability and returns its entry.
            The entry says whether the measured processes may be forked (`forks`), and their variables (`environment`).
        imports: Whether importing the engine's libraries is part of what is measured. If so, no process imports them beforehand.
        ends_early: Whether its measured process looks for `RunRequest.end_path`, and then ends with a record of what it has. So a job that
            is cancelled or fails keeps what was measured.
        suffixes: The endings of model files of this kind, if they are not those of the engine.
        libraries: For work that needs more than its capability: a function, as `module:name`, that gets a capability. It returns the
            versions of the libraries, or None if they are not really there.
        credentials: For work that logs in somewhere: a function, as `module:name`, that gets a capability. It returns the variables of the
            worker's environment that hold keys and passwords for it. No other measured process gets them.
    """

    target: str
    preload: tuple[str, ...] = ()
    in_engine: bool = True
    present: str = ""
    runs_in: str = ""
    imports: bool = False
    ends_early: bool = False
    suffixes: tuple[str, ...] = ()
    libraries: str = ""
    credentials: str = ""


KINDS: dict[str, KindEntry] = {
    "inference": KindEntry("worker.kinds.inference:InferenceMeasure", preload=("worker.engines.inputs",)),
    # By file:// it opens the `config.json` of a folder, and the files of the snapshot beside it (`shared.snapshots`).
    "generation": KindEntry(
        "worker.kinds.generation:GenerationMeasure",
        in_engine=False,
        present="worker.generators.registry:why_not",
        runs_in="worker.generators.registry:entry_of",
        imports=True,
        suffixes=("config.json",),
        libraries="worker.generators.registry:libraries",
    ),
    "hardware": KindEntry("worker.kinds.hardware:HardwareMeasure", in_engine=False, present="worker.hardware_tests.registry:why_not"),
    "load": KindEntry(
        "worker.kinds.load:LoadMeasure",
        in_engine=False,
        present="worker.drivers.registry:why_not_here",
        ends_early=True,
        credentials="worker.drivers.registry:variables_of",
    ),
    # This kind follows a known schedule and needs no model, so that tests can check what every kind relies on. No recipe can ask for it.
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
    measure: type[Measure] = named(entry_of(kind).target)
    return measure


def why_not(capability: str, hardware: Hardware) -> str:
    """Return why this device can do no work on a capability, or an empty text if it really can."""
    entries = [entry for kind in kinds_of(capability) if (entry := KINDS.get(kind)) is not None]
    if not entries or any(entry.in_engine for entry in entries):
        return engines.why_not(capability, hardware)
    reasons = [why_absent(entry.present, capability, hardware) if entry.present else "no device offers it" for entry in entries]
    return "" if "" in reasons else "; ".join(reasons)


def work_of(capability: str) -> dict[str, dict[str, str]]:
    """Return the kinds of work that can really be done with a capability that this device offers, each with the versions of its libraries.

    The versions of an engine's own libraries are among the installed frameworks, so they are not repeated.
    """
    found: dict[str, dict[str, str]] = {}
    for kind in kinds_of(capability):
        entry = KINDS.get(kind)
        versions = named(entry.libraries)(capability) if entry is not None and entry.libraries else {}
        if entry is not None and versions is not None:
            found[kind] = dict(versions)
    return found


def model_suffixes(kind: str, capability: str) -> tuple[str, ...]:
    """Return the endings of the model files that a job may name by file://.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    return entry_of(kind).suffixes or engines.model_suffixes(capability)


def place_of(kind: str, capability: str) -> Place | None:
    """Return the entry that says how the measured processes of some work start: of its engine, or of its own registry. None without one.

    Raises:
        EngineUnavailable: This worker does not know the kind, or nothing here runs this capability.
    """
    entry = entry_of(kind)
    if entry.in_engine:
        return engines.entry_of(capability)
    place: Place | None = named(entry.runs_in)(capability) if entry.runs_in else None
    return place


def credentials_of(kind: str, capability: str) -> tuple[str, ...]:
    """Return the variables of the worker's environment that hold the keys and passwords which some work needs.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    entry = entry_of(kind)
    found: tuple[str, ...] = named(entry.credentials)(capability) if entry.credentials else ()
    return found


def preloads(kind: str) -> tuple[str, ...]:
    """Return the modules of a kind that the guard imports before any job: what it needs, and its own.

    Raises:
        EngineUnavailable: This worker does not know the kind.
    """
    entry = entry_of(kind)
    return (*entry.preload, entry.target.partition(":")[0])
