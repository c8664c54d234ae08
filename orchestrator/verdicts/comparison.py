"""Decides whether a campaign got worse than another: PASS, FAIL or INCONCLUSIVE for each pair of jobs, and for all of them.

FAIL needs two things. The effect, which is the ratio of the medians of the per-repeat values, is above the threshold. And the test of
equality is below the level, after the correction for the number of pairs. PASS needs evidence too: the interval of the ratio ends below
the threshold. Everything else is INCONCLUSIVE: a figure that is missing, a side that failed or was noisy, facts that differ, too few
repeats, or an interval that contains the threshold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from orchestrator.verdicts.facts import Difference, differences, said
from orchestrator.verdicts.pairing import Pair, pair_up
from orchestrator.verdicts.rank_test import RatioInterval, hochberg, least_p, rank_sum_tails, ratio_interval, repeats_for
from orchestrator.verdicts.sides import Side
from orchestrator.verdicts.terms import Terms

NOISY = "noisy"
LONGEST_ERROR = 300  # the most characters of a failed job's error in a reason


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105 (not a password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


_WORST_FIRST = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Holds the figures of a pair.

    Attributes:
        baseline: the median of the baseline's per-repeat values.
        current: the median of the other side's.
        interval: for the ratio; None if there are too few repeats for the level.
        p: two-sided, of the test of equality.
        higher_is_better: whether a larger value is the better one.
        worse: whether the ranks of the current side lie on the worse side of those of the baseline.
        p_adjusted: corrected for the number of pairs that were judged; None for a pair that was not judged.
    """

    baseline: float
    current: float
    interval: RatioInterval | None
    p: float
    worse: bool
    p_adjusted: float | None = None
    higher_is_better: bool = False

    @property
    def effect(self) -> float:
        """Return how much worse the current side is, as a fraction of the baseline: 0.1 is 10 % more time, or 10 % less throughput."""
        return self._of_ratio(self.current / self.baseline)

    @property
    def effect_ends(self) -> tuple[float, float] | None:
        """Return the ends of the interval of the effect, the smaller one first; None if there are too few repeats for the level."""
        if self.interval is None:
            return None
        low, high = sorted((self._of_ratio(self.interval.low), self._of_ratio(self.interval.high)))
        return low, high

    def _of_ratio(self, ratio: float) -> float:
        return 1 - ratio if self.higher_is_better else ratio - 1


@dataclass(frozen=True, slots=True)
class Judged:
    """Holds a pair with its verdict.

    Attributes:
        reason: why, in words for people.
        evidence: None if a side has no values.
        differing: facts that must be equal and are not, or are not known.
        warnings: what else the reader should know.
    """

    pair: Pair
    verdict: Verdict
    reason: str
    evidence: Evidence | None = None
    differing: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Holds the verdicts of all pairs, the worst first, and the verdict of the whole.

    Attributes:
        only_current: jobs of the current campaign without a counterpart. They are new, and change no verdict.
    """

    verdict: Verdict
    summary: str
    judged: list[Judged]
    only_current: list[Side]

    def counts(self) -> dict[str, int]:
        found = Counter(one.verdict for one in self.judged)
        return {verdict.value: found[verdict] for verdict in Verdict}


def compare(baseline: Sequence[Side], current: Sequence[Side], terms: Terms) -> Comparison:
    """Return whether `current` got worse than `baseline`."""
    pairs = pair_up(baseline, current, other_models="model" in terms.allowed)
    judged = [_prepared(pair, terms) for pair in pairs if pair.baseline is not None]
    open_ones = [index for index, (_, obstacles) in enumerate(judged) if not obstacles]
    adjusted = hochberg([_evidence_of(judged[index][0]).p for index in open_ones])
    settled = [one for one, _ in judged]
    for index, p_adjusted in zip(open_ones, adjusted, strict=True):
        settled[index] = _settled(settled[index], p_adjusted, len(open_ones), terms)
    settled.sort(key=lambda one: (_WORST_FIRST[one.verdict], -(one.evidence.effect if one.evidence else 0.0)))
    verdict = _overall(settled)
    only_current = [pair.current for pair in pairs if pair.baseline is None and pair.current is not None]
    return Comparison(verdict, _summary(verdict, settled, terms), settled, only_current)


def _overall(judged: Sequence[Judged]) -> Verdict:
    found = {one.verdict for one in judged}
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE


def _prepared(pair: Pair, terms: Terms) -> tuple[Judged, list[str]]:
    """Return a pair with its figures, and the reasons that keep it from being judged."""
    base, new = pair.baseline, pair.current
    assert base is not None
    if new is None:
        missing = [f"BASE {base.problem:.{LONGEST_ERROR}}"] if base.problem else []
        missing.append("NEW has no job of this work on this device, so nothing shows that it did not get worse")
        return Judged(pair, Verdict.INCONCLUSIVE, "; ".join(missing)), missing
    found = differences(base.facts, new.facts) if base.values and new.values else ()
    evidence = _evidence(base.values, new.values, terms) if base.values and new.values else None
    obstacles = [
        *_without_values(base, new),
        *_incomparable(found, terms),
        *_noisy(base, new),
        *_too_few(evidence, base, new, terms),
    ]
    warnings = (*_warnings(base, new), *(f"allowed to differ: {said(one)}" for one in found if one.fact in terms.allowed))
    return Judged(pair, Verdict.INCONCLUSIVE, "; ".join(obstacles), evidence, found, warnings), obstacles


def _without_values(base: Side, new: Side) -> list[str]:
    return [f"{name} {side.problem:.{LONGEST_ERROR}}" for name, side in (("BASE", base), ("NEW", new)) if side.problem]


def _incomparable(found: Iterable[Difference], terms: Terms) -> list[str]:
    named = [said(one) for one in found if one.fact not in terms.allowed]
    return [f"not comparable: {', '.join(named)}"] if named else []


def _noisy(base: Side, new: Side) -> list[str]:
    named = [(name, side) for name, side in (("BASE", base), ("NEW", new)) if side.noise == NOISY]
    return [f"{name} was noisy: {side.noise_reasons[0] if side.noise_reasons else 'no reason is recorded'}" for name, side in named]


# One process shows nothing of how far processes differ, however many there are on the other side.
def _too_few(evidence: Evidence | None, base: Side, new: Side, terms: Terms) -> list[str]:
    if evidence is None:
        return []
    if evidence.interval is not None and min(len(base.values), len(new.values)) > 1:
        return []
    return [
        f"{len(base.values)} and {len(new.values)} repeats are too few for a level of {terms.level:g}: "
        f"measure at least {repeats_for(terms.level)} on each side"
    ]


def _evidence(base: Sequence[float], new: Sequence[float], terms: Terms) -> Evidence:
    tails, higher = rank_sum_tails(base, new), terms.figure.better == "higher"
    return Evidence(
        baseline=median(base),
        current=median(new),
        interval=ratio_interval(base, new, terms.level),
        p=tails.two_sided,
        worse=tails.smaller < tails.larger if higher else tails.larger < tails.smaller,
        higher_is_better=higher,
    )


def _evidence_of(one: Judged) -> Evidence:
    assert one.evidence is not None, "a pair without figures has an obstacle"
    return one.evidence


def _settled(one: Judged, p_adjusted: float, tests: int, terms: Terms) -> Judged:
    """Return a pair that can be judged, with its verdict."""
    evidence = replace(_evidence_of(one), p_adjusted=p_adjusted)
    interval, effect, ends = evidence.interval, evidence.effect, evidence.effect_ends
    assert interval is not None, "too few repeats are an obstacle"
    assert ends is not None
    limit, worse = percent(terms.max_regression), terms.figure.worse
    corrected = f", corrected for {tests} pairs {p_text(p_adjusted)}" if tests > 1 else ""
    chance = f"{p_text(evidence.p)}{corrected}"
    if effect > terms.max_regression and evidence.worse and p_adjusted < terms.level:
        reason = f"{percent(effect)} {worse}, above the threshold of {limit}; {chance}"
        return replace(one, evidence=evidence, verdict=Verdict.FAIL, reason=reason)
    if effect <= terms.max_regression and ends[1] <= terms.max_regression:
        # The interval misses on both sides alike, so its upper end alone is surer than the whole.
        # It is rounded down, so that 99.95 % never becomes 100 %.
        sure = percent(math.floor((1 + interval.confidence) / 2 * 1000) / 1000)
        most = percent(max(0.0, ends[1]))
        reason = f"at most {most} {worse} with {sure} confidence, within the threshold of {limit}"
        return replace(one, evidence=evidence, verdict=Verdict.PASS, reason=reason)
    if effect > terms.max_regression:
        reason = f"{percent(effect)} {worse}, but chance explains it: {chance}, not below {terms.level:g}{_least(one, tests, terms)}"
    else:
        reason = f"the interval from {signed(ends[0])} to {signed(ends[1])} contains the threshold of {limit}: more repeats would narrow it"
    return replace(one, evidence=evidence, reason=reason)


def _least(one: Judged, tests: int, terms: Terms) -> str:
    """Return the advice for a pair that could not fail with these repeats, however large its effect is; else an empty text."""
    assert one.pair.baseline is not None
    assert one.pair.current is not None
    if least_p(len(one.pair.baseline.values), len(one.pair.current.values)) * tests < terms.level:
        return ""
    return f"; to find a single pair among {tests}, measure {repeats_for(terms.level / tests)} repeats on each side"


def _warnings(base: Side, new: Side) -> list[str]:
    """Return what the reader should know beside the verdict. It changes no verdict."""
    found = []
    for name, side in (("BASE", base), ("NEW", new)):
        if side.values and not side.noise:
            found.append(f"nobody graded the noise of {name}")
        if side.steadiness == "not steady":
            found.append(f"the inferences of {name} were not steady")
    known = differences(base.more_facts, new.more_facts)
    found += [f"differs: {said(one)}" for one in known if one.baseline is not None and one.current is not None]
    return found


def _summary(verdict: Verdict, judged: Sequence[Judged], terms: Terms) -> str:
    """Return the verdict in one sentence."""
    total, counts = len(judged), Counter(one.verdict for one in judged)
    limit, worse = percent(terms.max_regression), terms.figure.worse
    pairs = f"{total} pair{'s' if total != 1 else ''}"
    if verdict is Verdict.PASS:
        return f"no more than {limit} {worse} in all of {pairs}" if total > 1 else f"no more than {limit} {worse}"
    if verdict is Verdict.FAIL:
        worst, undecided = judged[0], counts[Verdict.INCONCLUSIVE]
        assert worst.pair.current is not None
        named = f" (the worst: {worst.pair.current.title} on {worst.pair.current.device}, {signed(_evidence_of(worst).effect)})"
        return f"more than {limit} {worse} in {counts[verdict]} of {pairs}{named}" + (
            f"; {undecided} cannot be decided" if undecided else ""
        )
    if not judged:
        return "BASE has no jobs, so nothing was compared"
    return f"{counts[verdict]} of {pairs} cannot be decided; the first: {judged[0].reason}"


def percent(share: float) -> str:
    """Return a fraction as a percentage with three digits at most: `4.2 %`."""
    return f"{share * 100:.3g} %" if abs(share) < 10 else f"{share * 100:.0f} %"


def signed(share: float) -> str:
    """Return a fraction as a percentage with its sign."""
    return f"{'+' if share >= 0 else '−'}{percent(abs(share))}"


def p_text(p: float) -> str:
    """Return a p value with two significant digits."""
    return f"p = {p:.2g}" if p >= 0.0001 else "p < 0.0001"
