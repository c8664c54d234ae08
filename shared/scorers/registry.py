"""Maps the name of each scorer to its record. A new scorer needs one file beside this one, and one line here.

A package may bring scorers of its own (`shared.plugins`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module

from shared import plugins
from shared.errors import InvalidInput, nearest
from shared.figures import FigureKind
from shared.scorers.base import Scorer

SCORERS: dict[str, str] = {
    "rouge": "shared.scorers.rouge:SCORER",
    "contains": "shared.scorers.exact:CONTAINS",
    "exact_match": "shared.scorers.exact:EXACT_MATCH",
    "json_result": "shared.scorers.exact:JSON_RESULT",
}


def _own(name: str) -> Scorer:
    module, _, record = SCORERS[name].partition(":")
    scorer: Scorer = getattr(import_module(module), record)
    return scorer


FIGURES: Mapping[str, FigureKind] = {name: kind for scorer in SCORERS for name, kind in _own(scorer).figures.items()}


def scorer_named(name: str) -> Scorer:
    """Return a scorer.

    Raises:
        ValueError: there is none of this name. The message names the nearest.
        InvalidInput: a package brings a scorer that cannot be used.
    """
    if name in SCORERS:
        return _own(name)
    found = _of_packages()
    if name not in found:
        raise ValueError(f"there is no scorer {name!r:.100}: {nearest(name, [*SCORERS, *found])}")
    return found[name]


def figure_of_a_package(name: str) -> FigureKind | None:
    """Return the figure with this name that a scorer of another package has, or None if there is none.

    Raises:
        InvalidInput: a package brings a scorer that cannot be used.
    """
    return next((scorer.figures[name] for scorer in _of_packages().values() if name in scorer.figures), None)


@cache
def _of_packages() -> dict[str, Scorer]:
    found: dict[str, Scorer] = {}
    taken = set(FIGURES)
    for name, point in plugins.named_by_packages(plugins.SCORERS, SCORERS).items():
        scorer, package = plugins.loaded(point, Scorer)
        if again := sorted(taken.intersection(scorer.figures)):
            raise InvalidInput(f"the scorer {name} of the package {package} has the figure {again[0]}, which is taken: rename it there")
        taken.update(scorer.figures)
        found[name] = replace(scorer, name=name, package=package)
    return found
