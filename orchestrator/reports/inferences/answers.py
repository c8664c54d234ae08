"""Answers the question of a campaign in one sentence: which setting and device is best, for latency and for samples per second.

Jobs are compared if they processed the same samples (see `same_samples`). So a sweep over batch, threads and levels of optimisation has one
answer. Different models and different inputs are different questions, and they are not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.reports.inferences.crossing import uncrossed
from orchestrator.reports.inferences.figures import Figure
from orchestrator.reports.inferences.ranking import competitor, noise_said, places_of, verdict_of
from orchestrator.reports.inferences.same_work import UNKNOWN_CONTENT, Work, titles

MAX_NAMED = 3  # the most results that a sentence lists
Value = tuple[float, float | None, float | None]  # a figure of which less is better, and the ends of its interval


@dataclass(frozen=True)
class Answer:
    """Holds the answer to one question.

    Attributes:
        question: its title: the model's name, and what distinguishes it from other questions.
        verdict: what is best, in one sentence for latency and throughput together, and what weakens it.
        figures: the measured jobs, the lowest latency first.
        places: the name of each job, in the same order: device, compute unit, and the settings that differ.
        front: the ids of the jobs that no other job beats in both latency and samples per second.
        compared: whether the devices may be compared with each other.
    """

    question: str
    verdict: str
    figures: list[Figure]
    places: list[str]
    front: frozenset[str]
    compared: bool

    @property
    def batches(self) -> int:
        return len({one.work.batch for one in self.figures})


def answers(figures: Sequence[Figure]) -> list[Answer]:
    """Return the answer to each question, in the order in which the questions first appear among the measured jobs."""
    groups = _questions([one for one in figures if one.median is not None])
    names = {work: ", ".join(dict.fromkeys(one.name for one in members)) for work, members in groups.items()}
    called = titles(names, {work: members[0].swept_inputs for work, members in groups.items()})
    return [_answer(called[work], members, figures) for work, members in groups.items()]


def _questions(measured: Sequence[Figure]) -> dict[Work, list[Figure]]:
    """Group jobs by their samples. If the works of a group differ in more than their batch, each work is a question of its own."""
    by_samples: dict[Work, list[Figure]] = defaultdict(list)
    for one in measured:
        by_samples[one.samples].append(one)
    groups: dict[Work, list[Figure]] = {}
    for samples, members in by_samples.items():
        works = {one.work for one in members}
        if len(works) == len({work.batch for work in works}):
            groups[samples] = members
        else:
            for one in members:
                groups.setdefault(one.work, []).append(one)
    return groups


def _answer(question: str, members: list[Figure], every: Sequence[Figure]) -> Answer:
    if not members[0].work.may_be_ranked():
        return Answer(question, UNKNOWN_CONTENT, members, places_of(members), frozenset(), compared=False)
    ordered = sorted(members, key=lambda one: (one.median or 0.0, one.job_id))
    places = places_of(ordered)
    reason = uncrossed(ordered, every)
    verdict = _across(reason, ordered, every) if reason else _verdict(ordered, places, every)
    front = frozenset().union(*(_front(group) for group in (_by_kind(ordered) if reason else [ordered])))
    return Answer(question, verdict, ordered, places, front, compared=not reason)


def _by_kind(members: Sequence[Figure]) -> list[list[Figure]]:
    kinds: dict[str, list[Figure]] = defaultdict(list)
    for one in members:
        kinds[one.where].append(one)
    return list(kinds.values())


def _across(reason: str, ordered: Sequence[Figure], every: Sequence[Figure]) -> str:
    """Return the verdict if the devices cannot be compared: the reason, and a verdict for each device that measured several cells."""
    groups = [members for members in _by_kind(ordered) if len({_setting(one) for one in members}) > 1]
    alone = (f"on {members[0].where} alone, {_verdict(members, places_of(members), every)}" for members in groups)
    return "; ".join([reason, *alone])


def _verdict(ordered: Sequence[Figure], places: Sequence[str], every: Sequence[Figure]) -> str:
    called = _labels(ordered, places)
    if len({_setting(one) for one in ordered}) == 1:
        first, last = ordered[0], ordered[-1]
        times = _number(first.median) if first is last else f"{_number(first.median)} to {_number(last.median)}"
        ends = f", 95 % interval {_number(first.low)} – {_number(first.high)}" if first is last and first.low is not None else ""
        return f"only {first.where} measured it: {times} ms a call{ends}, {_rate(first)}" + noise_said(ordered)
    if len({one.work for one in ordered}) == 1:
        said, involved = verdict_of(ordered, places, every)
        return f"{said} ({_number(ordered[0].median)} ms a call, {_rate(ordered[0])})" + noise_said(involved)
    latency = _best(ordered, called, _latency, lambda one: f"{_number(one.median)} ms a call", "as fast as")
    throughput = _best(ordered, called, _time_per_sample, _rate, "as many as")
    involved = [one for _, ones in (latency, throughput) for one in ones]
    return f"for latency, {latency[0]}; for throughput, {throughput[0]}" + noise_said(involved)


def _labels(ordered: Sequence[Figure], places: Sequence[str]) -> dict[str, str]:
    """Return how a sentence names each job: without its device and compute unit if all jobs have the same."""
    same = len({one.where for one in ordered}) == 1
    return {one.job_id: (place.removeprefix(f"{one.where} · ") if same else place) for one, place in zip(ordered, places, strict=True)}


def _setting(one: Figure) -> object:
    return competitor(one), one.work.batch


def _latency(one: Figure) -> Value:
    return one.median or 0.0, one.low, one.high


def _time_per_sample(one: Figure) -> Value:
    rate, low, high = one.samples_per_s, one.rate_low, one.rate_high
    return 1 / rate if rate else float("inf"), 1 / high if high else None, 1 / low if low else None


def _best(
    members: Sequence[Figure],
    called: dict[str, str],
    value: Callable[[Figure], Value],
    written: Callable[[Figure], str],
    compared: str,
) -> tuple[str, list[Figure]]:
    """Return which job is best, as a part of a sentence, and the jobs that the verdict depends on.

    A setting that was measured several times is as good as its worst job. So what lies between such jobs is never called a difference.
    """
    ordered = sorted(members, key=lambda one: (value(one)[0], one.job_id))
    first = ordered[0]
    name, shown = called[first.job_id], written(first)
    unknown = next((one for one in ordered if None in value(one)), None)
    if unknown is not None:
        why = "it needs 2 repeats" if unknown.repeats < 2 else "its result does not say the figure of each repeat"
        return f"{name} came first ({shown}), but {called[unknown.job_id]} has no interval ({why}), so no winner is named", [first, unknown]
    same = [one for one in ordered if _setting(one) == _setting(first)]
    others = [one for one in ordered if _setting(one) != _setting(first)]
    high = max(value(one)[2] or 0.0 for one in same)
    level = [one for one in others if (value(one)[1] or 0.0) <= high]
    if level:
        names = list(dict.fromkeys(called[one.job_id] for one in level))
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        return f"{name} came first ({shown}), but cannot be told apart from {', '.join(names[:MAX_NAMED])}{more}", [first, *level]
    second = others[0]
    ratio = value(second)[0] / value(first)[0] if value(first)[0] else float("inf")
    return f"{name} is best ({shown}, {ratio:.2f}× {compared} the next, {called[second.job_id]})", [first, second]


def _front(members: Sequence[Figure]) -> frozenset[str]:
    """Return the ids of the jobs on the Pareto front: no other job has a lower or equal latency and more samples per second."""
    front: set[str] = set()
    most = 0.0
    for one in sorted(members, key=lambda one: (one.median or 0.0, -(one.samples_per_s or 0.0))):
        if (one.samples_per_s or 0.0) > most:
            most = one.samples_per_s or 0.0
            front.add(one.job_id)
    return frozenset(front)


def _rate(one: Figure) -> str:
    return "no throughput" if one.samples_per_s is None else f"{_number(one.samples_per_s)} samples/s"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
