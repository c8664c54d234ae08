"""Tests verdicts on pairs of jobs whose truth is known: known slowdowns, equal jobs, and pairs that must not be judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.facts import MUST_BE_EQUAL, WORTH_A_WARNING
from orchestrator.verdicts.comparison import Comparison, Verdict, compare
from orchestrator.verdicts.figures import FIGURES
from orchestrator.verdicts.sides import Side
from orchestrator.verdicts.terms import Terms
from shared.jobs import JobStatus
from shared.measurements import Noise
from tests.unit.orchestrator.verdicts.jobs import SIX, B, bound, drawn, failed, job, runtime, sides

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def judged(base: JobRecord, new: JobRecord, **terms: Any) -> Comparison:
    return compare(sides(base), sides(new), Terms(**terms))


def times(factor: float, values: tuple[float, ...] = SIX) -> tuple[float, ...]:
    return tuple(value * factor for value in values)


def test_ten_percent_more_is_found() -> None:
    found = judged(job(), job(times(1.1)))
    (one,) = found.judged
    assert (found.verdict, one.verdict) == (FAIL, FAIL)
    assert one.evidence is not None
    assert one.evidence.effect == pytest.approx(0.1, abs=1e-6)
    assert one.evidence.p == one.evidence.p_adjusted == pytest.approx(2 / 924)
    assert one.reason == "10 % slower, above the threshold of 5 %; p = 0.0022"
    assert found.summary == "more than 5 % slower in 1 of 1 pair (the worst: m.onnx on lab, +10 %)"


def test_the_same_again_passes() -> None:
    found = judged(job(), job())
    assert found.verdict is PASS
    assert found.judged[0].reason.startswith("at most ")
    assert found.judged[0].reason.endswith("within the threshold of 5 %")
    assert found.summary == "no more than 5 % slower"


def test_what_got_faster_passes() -> None:
    assert judged(job(), job(times(0.8))).verdict is PASS


def test_three_percent_more_is_within_five_and_beyond_two() -> None:
    assert judged(job(), job(times(1.03))).verdict is PASS
    assert judged(job(), job(times(1.03)), max_regression=0.02).verdict is FAIL


def test_a_spread_that_hides_the_threshold_is_inconclusive() -> None:
    wide = (9.0, 11.2, 9.5, 10.9, 10.1, 9.9)
    found = judged(job(wide), job(times(1.03, wide)))
    assert found.verdict is INCONCLUSIVE
    assert "contains the threshold of 5 %: more repeats would narrow it" in found.judged[0].reason


def test_a_large_effect_that_chance_explains_is_inconclusive() -> None:
    found = judged(job((9.0, 12.0, 9.1, 11.8, 9.2, 11.0)), job((9.1, 12.1, 9.3, 12.2, 11.9, 12.5)))
    assert found.verdict is INCONCLUSIVE
    assert "chance explains it" in found.judged[0].reason


@pytest.mark.parametrize("unsuitable", [failed(), failed(status=JobStatus.CANCELLED, error="the campaign was cancelled")])
@pytest.mark.parametrize("side", ["BASE", "NEW"])
def test_a_side_that_has_no_result_is_inconclusive(unsuitable: JobRecord, side: str) -> None:
    found = judged(unsuitable, job()) if side == "BASE" else judged(job(), unsuitable)
    (one,) = found.judged
    assert (found.verdict, one.evidence) == (INCONCLUSIVE, None)
    assert one.reason.startswith((f"{side} failed: no such operator", f"{side} was cancelled: the campaign"))


def test_a_figure_that_is_missing_is_inconclusive() -> None:
    terms = Terms(figure=FIGURES["load_peak_mb"])  # these workers did not report the figure
    found = compare(sides(job(), metric="load_peak_mb"), sides(job(), metric="load_peak_mb"), terms)
    assert found.verdict is INCONCLUSIVE
    why = "has no load_peak_mb: the kernel did not report it"
    assert found.judged[0].reason == f"BASE {why}; NEW {why}"


def test_a_time_of_zero_has_no_ratio() -> None:
    found = judged(job((0.0, *SIX[1:])), job())
    assert found.verdict is INCONCLUSIVE
    assert found.judged[0].reason == "BASE has a repeat with inference_ms 0, which has no ratio"


def test_a_complete_job_whose_result_cannot_be_read_is_inconclusive() -> None:
    unreadable = failed(status=JobStatus.COMPLETE, error="")
    assert judged(job(), unreadable).judged[0].reason == "NEW has no result that this version can read"


@pytest.mark.parametrize("side", ["BASE", "NEW"])
def test_a_noisy_side_is_inconclusive(side: str) -> None:
    noisy = Noise(grade="noisy", reasons=["other work kept 1.8 cores busy"])
    pair = (job(noise=noisy), job(times(1.1))) if side == "BASE" else (job(), job(times(1.1), noise=noisy))
    found = judged(*pair)
    assert found.verdict is INCONCLUSIVE
    assert found.judged[0].reason == f"{side} was noisy: other work kept 1.8 cores busy"


def test_too_few_repeats_for_the_level_are_inconclusive() -> None:
    found = judged(job(SIX[:3]), job(times(2.0, SIX[:3])))
    assert found.verdict is INCONCLUSIVE
    assert found.judged[0].reason == "3 and 3 repeats are too few for a level of 0.05: measure at least 4 on each side"
    assert judged(job(SIX[:4]), job(times(2.0, SIX[:4]))).verdict is FAIL
    assert judged(job(SIX[:3]), job(times(2.0, SIX[:3])), level=0.2).verdict is FAIL


@pytest.mark.parametrize("side", ["BASE", "NEW"])
def test_one_repeat_never_decides_however_many_are_on_the_other_side(side: str) -> None:
    """The smallest p of 1 and 40 values is 0.049. It would be below the level, and nothing is known of how far the one may be off."""
    many = tuple(np.linspace(20.0, 20.4, 40))
    found = judged(job(SIX[:1]), job(many)) if side == "BASE" else judged(job(many), job((40.0,)))
    assert found.verdict is INCONCLUSIVE
    assert "repeats are too few for a level of 0.05: measure at least 4 on each side" in found.judged[0].reason


def test_the_repeats_that_are_asked_for_are_enough() -> None:
    """With 3 repeats on each side p can be 0.1, which is not below a level of 0.1."""
    few = judged(job(SIX[:3]), job(times(2.0, SIX[:3])), level=0.1)
    assert few.verdict is INCONCLUSIVE
    assert few.judged[0].reason.endswith("p = 0.1, not below 0.1; to find a single pair among 1, measure 4 repeats on each side")
    assert judged(job(SIX[:4]), job(times(2.0, SIX[:4])), level=0.1).verdict is FAIL


@pytest.mark.parametrize("level", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("repeats", [7, 12, 30])
def test_no_confidence_is_said_to_be_whole(level: float, repeats: int) -> None:
    even = tuple(np.linspace(10.0, 10.05, repeats))
    (one,) = judged(job(even), job(even), level=level).judged
    assert one.verdict is PASS
    sure = float(one.reason.partition(" with ")[2].partition(" % confidence")[0])
    assert 100 * (1 - level / 2) - 0.1 <= sure < 100


DIFFERENT: dict[str, dict[str, Any]] = {
    "model": {"sha256": B},
    "inputs": {"said": runtime(inputs=[bound(shape=(1, 5))])},
    "precision": {"said": runtime(inputs=[bound(kind="tensor(float16)")])},
    "values": {"said": runtime(inputs=[bound(values="22" * 32)])},
    "batch": {"said": runtime(batch_size=8)},
    "capability": {"capability": "gpu.cuda.onnx"},
    "runtime": {"said": runtime(version="1.32.0")},
    "provider": {"said": runtime(provider="DnnlExecutionProvider")},
    "threads": {"said": runtime(threads={"intra_op": 4, "inter_op": 1})},
    "inter_threads": {"said": runtime(threads={"intra_op": 2, "inter_op": 2})},
    "graph": {"said": runtime(graph_level="basic")},
    "device": {"device": "shed"},
    "processor": {"soc": "other chip"},
}


@pytest.mark.parametrize("fact", DIFFERENT)
def test_a_fact_that_differs_is_named_and_nothing_is_judged_unless_it_is_allowed(fact: str) -> None:
    other = job(times(1.1), **DIFFERENT[fact])
    found = judged(job(), other)
    (one,) = found.judged
    assert found.verdict is INCONCLUSIVE
    assert one.reason.startswith(f"not comparable: {fact} (")
    assert [difference.fact for difference in one.differing] == [fact]
    allowed = judged(job(), other, allowed=frozenset({fact}))
    assert allowed.verdict is FAIL
    assert allowed.judged[0].warnings[0].startswith(f"allowed to differ: {fact} (")


UNRECORDED: dict[str, dict[str, Any]] = {
    "model": {"sha256": None},
    "inputs": {"said": runtime(inputs=[bound() | {"bound_shape": None}])},
    "values": {"said": runtime(inputs=[bound() | {"values_sha256": None}])},
    "runtime": {"said": runtime(version=None)},
    "provider": {"said": runtime(provider=None)},
    "threads": {"said": runtime(threads=None)},
    "graph": {"said": runtime(graph_level=None)},
    "processor": {"soc": ""},
}


@pytest.mark.parametrize("fact", UNRECORDED)
def test_a_fact_that_an_older_version_did_not_record_is_named(fact: str) -> None:
    found = judged(job(**UNRECORDED[fact]), job())
    assert found.verdict is INCONCLUSIVE
    assert f"{fact} is not recorded in BASE" in found.judged[0].reason
    both = judged(job(**UNRECORDED[fact]), job(**UNRECORDED[fact]))
    assert f"{fact} is not recorded in BASE and NEW" in both.judged[0].reason


def test_a_result_of_the_first_version_is_not_comparable_and_says_why() -> None:
    old = job(said={"version": "1.31.1", "providers": ["CPUExecutionProvider"], "intra_op_threads": 2})
    found = judged(old, job())
    assert found.verdict is INCONCLUSIVE
    for fact in ("inputs", "precision", "values", "batch", "inter_threads", "graph"):
        assert f"{fact} is not recorded in BASE" in found.judged[0].reason


def test_every_fact_that_must_be_equal_is_tried() -> None:
    assert set(DIFFERENT) | {"options"} == {fact.name for fact in MUST_BE_EQUAL}, "no option of today is neither an answer nor an input"
    assert not {fact.name for fact in MUST_BE_EQUAL} & {fact.name for fact in WORTH_A_WARNING}


def test_our_own_version_and_other_software_are_warnings() -> None:
    found = judged(job(), job(software={"onnxruntime": "1.31.1", "fleetmark": "0.2.0"}, inferences=5))
    assert found.verdict is PASS
    warnings = found.judged[0].warnings
    assert "differs: fleetmark (0.1.0 in BASE, 0.2.0 in NEW)" in warnings
    assert "differs: inferences (3 in BASE, 5 in NEW)" in warnings


def test_noise_that_nobody_graded_is_a_warning() -> None:
    assert "nobody graded the noise of BASE" in judged(job(noise=None), job()).judged[0].warnings


def test_a_job_of_base_that_new_lacks_makes_it_inconclusive() -> None:
    found = compare(sides(job(number=1), job(number=2, options={"threads": 1})), sides(job()), Terms())
    assert found.verdict is INCONCLUSIVE
    assert [one.verdict for one in found.judged] == [INCONCLUSIVE, PASS]
    assert found.judged[0].reason.startswith("NEW has no job of this work")
    assert found.summary.startswith("1 of 2 pairs cannot be decided; the first: NEW has no job")


def test_a_job_that_only_new_has_is_named_and_changes_nothing() -> None:
    found = compare(sides(job()), sides(job(), job(number=2, options={"threads": 1})), Terms())
    assert (found.verdict, len(found.judged)) == (PASS, 1)
    assert [side.job_id[-1] for side in found.only_current] == ["2"]


def test_jobs_of_a_sweep_over_inferences_meet_those_with_as_many_even_if_one_was_retried() -> None:
    """With 10 inferences, each inference takes 15 % longer. In NEW that job was retried, so its number is the last."""
    base = sides(job(times(1.15), 1, inferences=10), job(SIX, 2, inferences=1000))
    found = compare(base, sides(job(SIX, 2, inferences=1000), job(times(1.15), 3, inferences=10)), Terms())
    met = [(one.pair.baseline, one.pair.current) for one in found.judged]
    assert [tuple(side.job_id[-1] for side in pair if side) for pair in met] == [("1", "3"), ("2", "2")]
    assert [one.warnings for one in found.judged] == [(), ()]
    assert found.verdict is PASS


def test_nothing_to_compare_is_inconclusive() -> None:
    found = compare([], sides(job()), Terms())
    assert (found.verdict, found.summary) == (INCONCLUSIVE, "BASE has no jobs, so nothing was compared")


def test_one_failure_decides_beside_what_cannot_be_decided() -> None:
    base = [job(number=1), job(number=2, options={"threads": 1})]
    new = [job(times(1.2), number=1), failed(2, options={"threads": 1})]
    found = compare(sides(*base), sides(*new), Terms())
    assert found.verdict is FAIL
    assert found.counts() == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 1}
    assert found.summary.endswith("; 1 cannot be decided")


def sweep(factors: list[float]) -> list[JobRecord]:
    return [job(times(factor), number=number, options={"threads": number}) for number, factor in enumerate(factors, start=1)]


def test_many_pairs_are_judged_as_one_family() -> None:
    """With 6 repeats the smallest p is 0.0022, so one pair among 24 cannot be told from chance. The answer says how many pairs could be."""
    alone = compare(sides(*sweep([1.0] * 24)), sides(*sweep([1.2] + [1.0] * 23)), Terms())
    assert alone.verdict is INCONCLUSIVE
    assert "corrected for 24 pairs p = 0.052" in alone.judged[0].reason
    assert alone.judged[0].reason.endswith("to find a single pair among 24, measure 7 repeats on each side")
    assert alone.counts() == {"PASS": 23, "FAIL": 0, "INCONCLUSIVE": 1}
    shared = compare(sides(*sweep([1.0] * 24)), sides(*sweep([1.2] * 24)), Terms())
    assert shared.counts() == {"PASS": 0, "FAIL": 24, "INCONCLUSIVE": 0}


def test_pairs_that_cannot_be_judged_are_not_counted_in_the_correction() -> None:
    others = [failed(number, options={"threads": number}) for number in range(2, 25)]
    found = compare(sides(*sweep([1.0] * 24)), sides(job(times(1.2), options={"threads": 1}), *others), Terms())
    assert found.verdict is FAIL
    assert found.judged[0].evidence is not None
    assert found.judged[0].evidence.p_adjusted == pytest.approx(2 / 924)


def test_memory_that_grew_is_found_although_its_values_do_not_spread() -> None:
    terms = Terms(figure=FIGURES["inference_peak_mb"])
    base, same = sides(job(), metric="inference_peak_mb"), sides(job(), metric="inference_peak_mb")
    assert compare(base, same, terms).verdict is PASS


def _verdicts(pairs: int, seed: int, **drawing: Any) -> list[Verdict]:
    """Return the verdicts on this number of pairs of campaigns. The median of the new side is that of the base times the given ratio."""
    generator = np.random.default_rng(seed)
    ratio = drawing.pop("ratio", 1.0)
    found = []
    (template,) = sides(job())
    for _ in range(pairs):
        base = _with(template, drawn(generator, **drawing))
        new = _with(template, drawn(generator, ratio=ratio, **drawing))
        found.append(compare([base], [new], Terms()).verdict)
    return found


def _with(side: Side, values: tuple[float, ...]) -> Side:
    return replace(side, values=values)


SPREADS = [{"cv": 0.005}, {"cv": 0.01}, {"cv": 0.02}, {"cv": 0.01, "drift": 0.02}, {"cv": 0.02, "drift": 0.04}]


@pytest.mark.parametrize("spread", SPREADS)
def test_equal_campaigns_raise_no_alarm(spread: dict[str, float]) -> None:
    """Base and new side have the same truth. At most 5 of 100 pairs may be called slower. With a threshold of 5 %, none of 400 is."""
    found = _verdicts(400, seed=1, **spread)
    assert found.count(FAIL) <= 2
    assert found.count(PASS) >= (390 if spread["cv"] <= 0.01 else 300)


@pytest.mark.parametrize("spread", SPREADS)
def test_ten_percent_more_work_is_found_in_campaigns_that_spread(spread: dict[str, float]) -> None:
    found = _verdicts(400, seed=2, ratio=1.1, **spread)
    assert found.count(PASS) == 0
    assert found.count(FAIL) >= 0.95 * 400


def test_a_machine_that_spreads_too_much_raises_no_more_false_alarms_than_the_level() -> None:
    """With a spread of 10 % the threshold has no effect, so only the rank test decides: 2.5 % of equal pairs are called slower."""
    found = _verdicts(1_000, seed=3, cv=0.10)
    assert found.count(FAIL) / 1_000 < 0.025 + 3.3 * (0.025 * 0.975 / 1_000) ** 0.5
    assert found.count(PASS) / 1_000 < 0.2


def test_a_runtime_that_lets_nobody_count_its_threads_is_compared_with_itself() -> None:
    unknown = runtime(threads="chosen by CoreML", graph_level="chosen by CoreML", provider="GPU")
    assert judged(job(said=unknown), job(said=unknown)).verdict is PASS
    assert judged(job(), job(said=unknown)).verdict is INCONCLUSIVE


def rates(factor: float, number: int = 1) -> JobRecord:
    """Return a job whose throughput is `factor` times that of `SIX`."""
    one = job(times(1.0), number)
    assert one.result is not None
    assert one.result.summary is not None
    repeats = [
        repeat.model_copy(update={"throughput_per_s": 100.0 * factor / value})
        for repeat, value in zip(one.result.summary.repeats, SIX, strict=True)
    ]
    summary = one.result.summary.model_copy(update={"repeats": repeats, "throughput_per_s": 10.0 * factor})
    return replace(one, result=one.result.model_copy(update={"summary": summary}))


def of_rates(base: JobRecord, new: JobRecord, **terms: Any) -> Comparison:
    figure = FIGURES["throughput_per_s"]
    return compare(sides(base, metric=figure.name), sides(new, metric=figure.name), Terms(figure=figure, **terms))


def test_a_lower_throughput_is_found_and_a_higher_one_passes() -> None:
    found = of_rates(rates(1.0), rates(0.9))
    (one,) = found.judged
    assert found.verdict is FAIL
    assert one.evidence is not None
    assert one.evidence.effect == pytest.approx(0.1)
    assert one.evidence.effect_ends is not None
    low, high = one.evidence.effect_ends
    assert low < 0.1 < high
    assert one.reason == "10 % lower, above the threshold of 5 %; p = 0.0022"
    assert found.summary == "more than 5 % lower in 1 of 1 pair (the worst: m.onnx on lab, +10 %)"
    better = of_rates(rates(1.0), rates(1.2))
    assert better.verdict is PASS
    assert better.judged[0].reason.startswith("at most 0 % lower")
    assert of_rates(rates(1.0), rates(0.97)).verdict is PASS
    assert of_rates(rates(1.0), rates(0.97), max_regression=0.02).verdict is FAIL
