"""Ranks the jobs of each work by their headline. If the intervals of two jobs overlap, no winner is named.

Jobs of the same work may have different headlines: a device that cannot give one figure has another, such as the latency of a kernel
launch in place of that of memory. Such numbers are never compared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from orchestrator.reports.outcomes.measured import Measured
from orchestrator.reports.page_texts import figure_text
from shared.figures import Figure

MAX_NAMED = 3  # the most jobs that a sentence lists


@dataclass(frozen=True)
class Ranking:
    """Holds the jobs of one work with the same headline, the best first, with the name of each and the verdict on the best."""

    work: str
    verdict: str
    jobs: list[Measured]
    places: list[str]


def rank(jobs: Sequence[Measured]) -> list[Ranking]:
    """Return the measured jobs of each work and headline. They come in the order in which they first appear."""
    groups: dict[Hashable, list[Measured]] = defaultdict(list)
    for one in jobs:
        if one.headline is not None:
            groups[question_of(one)].append(one)
    titles = _titles(list(groups.values()))
    rankings = []
    for title, members in zip(titles, groups.values(), strict=True):
        ordered = sorted(members, key=lambda one: (bool(one.cannot_win), badness(_headline(one)), one.job_id))
        able = [one for one in ordered if not one.cannot_win]
        verdict = _verdict(able) if able else "no winner is named"
        rankings.append(Ranking(title, verdict + _out_of_it(ordered) + _noise(ordered), ordered, [one.where for one in ordered]))
    return rankings


def question_of(one: Measured) -> Hashable:
    """Return what a measured job answers: its work, by which figure. Only jobs with equal questions are ranked against each other."""
    figure = _headline(one)
    return one.work, figure.name, figure.unit, figure.better


def _titles(groups: list[list[Measured]]) -> list[str]:
    """Return a title for each ranking: the name of its jobs, and what else tells it from the others.

    That is the parameters where two works have one name, then the figure by which they are ranked, and a number as a last resort.
    """
    said = [members[0].name for members in groups]
    for more in _TELLING_APART:
        times, further = Counter(said), [more(members[0]) for members in groups]
        different = len(set(further)) > 1
        said = [
            title if times[title] == 1 or not different else " · ".join(filter(None, (title, text)))
            for title, text in zip(said, further, strict=True)
        ]
    times = Counter(said)
    return [title if times[title] == 1 else f"{title} · no. {number}" for number, title in enumerate(said, start=1)]


def _headline(one: Measured) -> Figure:
    assert one.headline is not None, "only measured jobs are ranked"
    return one.headline


_TELLING_APART: tuple[Callable[[Measured], str], ...] = (lambda one: one.parameters, lambda one: f"by {_headline(one).name}")


def badness(figure: Figure) -> float:
    """Return a number that is smaller for a better figure. A figure without a better direction keeps the order of its values."""
    value = figure.value or 0.0
    return -value if figure.better == "higher" else value


def _verdict(ordered: Sequence[Measured]) -> str:
    first = ordered[0]
    figure = _headline(first)
    shown = f"{figure_text(figure.value)} {figure.unit}"
    others = [one for one in ordered if one.where != first.where]
    if figure.better == "neither":
        return f"{figure.name} describes the run and judges nothing: {shown} on {first.where}"
    if not others:
        ends = f", 95 % interval {figure_text(figure.interval.low)} – {figure_text(figure.interval.high)}" if figure.interval else ""
        return f"only {first.where} measured it: {figure.name} {shown}{ends}"
    unknown = next((one for one in ordered if _headline(one).interval is None), None)
    if unknown is not None:
        return f"{first.where} came first ({figure.name} {shown}), but {unknown.where} has no interval, so no winner is named"
    worst = max(_edge(_headline(one), worst=True) for one in ordered if one.where == first.where)
    level = list(dict.fromkeys(one.where for one in others if _edge(_headline(one), worst=False) <= worst))
    if level:
        more = f" and {len(level) - MAX_NAMED} more" if len(level) > MAX_NAMED else ""
        return f"{first.where} came first ({figure.name} {shown}), but cannot be told apart from {', '.join(level[:MAX_NAMED])}{more}"
    second = _headline(others[0])
    return f"{first.where} is best ({figure.name} {shown}); the next is {others[0].where} ({figure_text(second.value)} {second.unit})"


def _edge(figure: Figure, *, worst: bool) -> float:
    """Return the worst or the best end of the interval, as a number that is smaller for a better figure."""
    assert figure.interval is not None, "a job without an interval is looked for before"
    higher = figure.better == "higher"
    end = figure.interval.low if higher == worst else figure.interval.high
    return -end if higher else end


def _out_of_it(ordered: Sequence[Measured]) -> str:
    """Return how many of the jobs win nothing, and why."""
    reasons = Counter(one.cannot_win for one in ordered if one.cannot_win)
    if len(ordered) == 1:
        return "".join(f"; the only result is {why}" for why in reasons)
    return "".join(f"; {count} of these {len(ordered)} results {'is' if count == 1 else 'are'} {why}" for why, count in reasons.items())


def _noise(ordered: Sequence[Measured]) -> str:
    noisy = sum(one.noise == "noisy" for one in ordered)
    if not noisy:
        return ""
    return f"; {noisy} of these {len(ordered)} results are noisy" if len(ordered) > 1 else "; this result is noisy"
