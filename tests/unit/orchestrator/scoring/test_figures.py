"""Tests the figures that come from the scores of documents."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from orchestrator.scoring.figures import BOOTSTRAP, WILSON, figures_of, interval_of, reasons
from orchestrator.scoring.run import Scored
from shared.scorers.registry import FIGURES

ROUGE1 = {"rouge1": FIGURES["rouge1"]}


def test_a_figure_is_the_mean_over_the_documents_that_were_scored() -> None:
    scored = Scored([{"rouge1": 10.0}, {"unscored": "another script"}, {"rouge1": 40.0}, {"unscored": "another script"}])
    (figure,) = figures_of(scored, ROUGE1)
    assert (figure.value, figure.n, figure.missing, figure.unit, figure.better) == (25.0, 2, "", "F1 x 100", "higher")
    assert figure.interval is not None
    assert (figure.interval.low, figure.interval.high, figure.interval.method) == (10.0, 40.0, BOOTSTRAP)
    assert figure.repeats == (), "it exists only once in a job"
    assert reasons(scored) == {"another script": 2}


def test_without_a_scored_document_the_figure_is_null_with_the_reason() -> None:
    (figure,) = figures_of(Scored([{"unscored": "no reference"}] * 3), ROUGE1)
    assert (figure.value, figure.missing) == (None, "none of 3 documents could be scored: no reference")


def test_one_document_has_no_interval_and_the_same_values_always_have_the_same() -> None:
    assert interval_of([30.0], "F1 x 100") is None
    values = [float(value) for value in range(20)]
    assert interval_of(values, "F1 x 100") == interval_of(values, "F1 x 100")


def test_scores_in_percent_that_are_all_equal_still_have_an_interval_of_some_width() -> None:
    interval = interval_of([100.0] * 10, "%")
    assert interval is not None
    assert (interval.high, interval.method) == (100.0, WILSON)
    assert interval.low == pytest.approx(72.25, abs=0.01), "the table of Wilson's interval for 10 of 10"
    rouge = interval_of([0.0] * 10, "F1 x 100")
    assert rouge is not None
    assert (rouge.low, rouge.high, rouge.method) == (0.0, 0.0, BOOTSTRAP), "ROUGE is no proportion"


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    drawn, covered = random.Random(7), 0
    for _ in range(100):
        values = [drawn.betavariate(2, 5) * 100 for _ in range(40)]
        interval = interval_of(values, "F1 x 100")
        assert interval is not None
        assert interval.low <= fmean(values) <= interval.high
        covered += interval.low <= 200 / 7 <= interval.high
    assert covered >= 86, "95 are expected; fewer than 86 have a probability below 0.0003, at the bootstrap's true level of 0.94"
