"""Ranks the jobs of each work by speed, which is the content of the report's first page.

Only jobs that did the same work are compared (see `same_work`). If the intervals of two jobs overlap, the report says that they cannot be
distinguished, and names no winner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.reports.inferences.crossing import uncrossed
from orchestrator.reports.inferences.figures import Figure, Pairs
from orchestrator.reports.inferences.same_work import UNKNOWN_CONTENT, Work, titles


@dataclass(frozen=True)
class Ranking:
    """Holds the jobs of one work, fastest first, and the verdict on the fastest.

    Attributes:
        work: the title of the work.
        places: the name of each figure, in the same order: device, compute unit, and the settings that differ.
    """

    work: str
    figures: list[Figure]
    places: list[str]
    verdict: str


def rank(figures: Sequence[Figure], every: Sequence[Figure] = ()) -> list[Ranking]:
    """Return the measured jobs of each work, sorted by median. Works come in the order in which they first appear.

    If the model's content is not known, the jobs keep the order of the campaign, and they are not ranked.

    Args:
        every: all jobs of the campaign, if `figures` is only a part of them. Those that failed tell which device had its turn.
    """
    groups: dict[Work, list[Figure]] = defaultdict(list)
    for one in figures:
        if one.median is not None:
            groups[one.work].append(one)
    names = {work: ", ".join(dict.fromkeys(one.name for one in members)) for work, members in groups.items()}
    called = titles(names, {work: members[0].swept_inputs for work, members in groups.items()})
    rankings = []
    for work, members in groups.items():
        if work.may_be_ranked():
            members = sorted(members, key=lambda one: (one.median or 0.0, one.job_id))
        places = places_of(members)
        said, involved = verdict_of(members, places, every or figures) if work.may_be_ranked() else (UNKNOWN_CONTENT, [])
        verdict = said + noise_said(involved)
        rankings.append(Ranking(called[work], members, places, verdict))
    return rankings


def places_of(members: Sequence[Figure]) -> list[str]:
    """Return a name for each of these jobs: device and compute unit, and the batch and settings that differ between jobs with the same two.

    Settings that the recipe varied are also included if they differ only between devices, so that a row shows the whole difference.
    """
    names = {one.name for one in members}
    alike: dict[str, list[Figure]] = defaultdict(list)
    for one in members:
        alike[one.where].append(one)
    swept = frozenset({"batch"}).union(*(one.swept_answers for one in members), *({name for name, _ in one.settings} for one in members))
    of_recipe = _differing(members) & swept
    differing = {kind: _differing(same) | of_recipe for kind, same in alike.items()}
    return [
        " · ".join(
            [
                one.where,
                *([one.name] if len(names) > 1 else []),
                *(f"{name} {text}" for name, text in _facts(one) if name in differing[one.where]),
            ]
        )
        for one in members
    ]


def _differing(members: Sequence[Figure]) -> set[str]:
    """Return the names of the answers and settings that differ between these jobs, with `batch` if their batch does."""
    facts = [dict(_facts(one)) for one in members]
    names = {name for fact in facts for name in fact}
    return {name for name in names if len({fact.get(name) for fact in facts}) > 1}


def _facts(one: Figure) -> Pairs:
    return (("batch", str(one.work.batch or 1)), *one.answers, *one.settings)


def competitor(one: Figure) -> tuple[str, Pairs]:
    """Return what a job stands for in a comparison."""
    return one.where, one.answers


def noise_said(involved: Sequence[Figure]) -> str:
    """Return what to add to a verdict that depends on these jobs: a warning if some of them were measured on a disturbed machine."""
    jobs = {one.job_id: one for one in involved}.values()
    noisy = sum(one.noise == "noisy" for one in jobs)
    if not noisy:
        return ""
    if len(jobs) == 1:
        of = "this result is noisy"
    elif noisy == len(jobs):
        of = f"these {noisy} results are noisy"
    else:
        of = f"{noisy} of these {len(jobs)} results {'is' if noisy == 1 else 'are'} noisy"
    return f"; {of}" + (", so do not rely on this verdict before you have measured again on a quiet machine" if len(jobs) > 1 else "")


def verdict_of(ordered: Sequence[Figure], places: Sequence[str], every: Sequence[Figure]) -> tuple[str, list[Figure]]:
    """Return which of these jobs of one work is the fastest, as a sentence, and the jobs that this depends on.

    Args:
        ordered: the jobs, the lowest median first.
        every: all jobs of the campaign.
    """
    if reason := uncrossed(ordered, every):
        return reason, []
    first, place = ordered[0], places[0]
    # A device and runtime that was measured several times is as good as its slowest job shows it, not its luckiest. Jobs that differ in
    # the model's name or in the number of inferences alone are such: what lies between them is noise.
    same = [one for one in ordered if competitor(one) == competitor(first)]
    others = [(one, where) for one, where in zip(ordered, places, strict=True) if competitor(one) != competitor(first)]
    if not others:
        return f"only {place if set(places) == {place} else first.where} measured it", same
    unknown = [where for one, where in zip(ordered, places, strict=True) if one.low is None or one.high is None]
    if unknown:
        return f"{place} has the lowest median, but {unknown[0]} has no interval (it needs 2 repeats): no winner is named", []
    high = max(one.high or 0.0 for one in same)
    level = [where for one, where in others if (one.low or 0.0) <= high]
    if level:
        names = ", ".join(dict.fromkeys(level))
        tied = [one for one, _ in others if (one.low or 0.0) <= high]
        return f"{place} has the lowest median, but cannot be told apart from {names}: their intervals overlap", [first, *tied]
    second, where = others[0]
    ratio = (second.median or 0.0) / first.median if first.median else 0.0
    return f"{place} is the fastest, {ratio:.2f}× as fast as {where}", [first, second]
