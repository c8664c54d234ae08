"""Maps each kind of work to its sheet. A new kind needs one file beside this one, and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from orchestrator.reports.sheets.base import OutcomeSheet, Sheet
from shared.kinds.registry import KINDS


@dataclass(frozen=True)
class SheetEntry:
    """Says where a sheet is (`module:Class`). The class is called with the name of the kind of work."""

    target: str


SHEETS: dict[str, SheetEntry] = {
    "inference": SheetEntry("orchestrator.reports.sheets.inference:InferenceSheet"),
    "generation": SheetEntry("orchestrator.reports.sheets.generation:GenerationSheet"),
    "hardware": SheetEntry("orchestrator.reports.sheets.hardware:HardwareSheet"),
    "load": SheetEntry("orchestrator.reports.sheets.load:LoadSheet"),
    "fake": SheetEntry("orchestrator.reports.sheets.fake:FakeSheet"),
}


@cache
def _made(kind: str) -> Sheet:
    module, _, name = SHEETS[kind].target.partition(":")
    sheet: Sheet = getattr(import_module(module), name)(kind)
    return sheet


def sheet_of(kind: str) -> Sheet:
    """Return the sheet of a kind of work.

    A kind that this version does not know has a sheet that shows its figures and fills no column. A job of such a kind was accepted by a
    newer version, before this one was installed again.
    """
    return _made(kind) if kind in SHEETS else OutcomeSheet(kind)


def known_sheets() -> list[Sheet]:
    """Return the sheets of all kinds of work that a recipe can ask for."""
    return [_made(kind) for kind, one in KINDS.items() if one.marks]
