"""Tests the scorers with one right answer, and how scorers are found."""

from __future__ import annotations

import pytest

from shared.scorers.base import Unscored
from shared.scorers.exact import contains, exact_match, json_result
from shared.scorers.registry import FIGURES, SCORERS, scorer_named


@pytest.mark.parametrize(
    ("output", "right", "valid"),
    [
        ('{"result": 12}', 100, 100),
        ('The answer:\n```json\n{"result": 12.0}\n```', 100, 100),
        ('{"result": 13} {"result": 12}', 0, 100),
        ('{ no } {"result": 12}', 100, 100),
        ('{"result": "12"}', 0, 0),
        ('{"result": true}', 0, 0),
        ('{"result": NaN}', 0, 0),
        ('{"answer": 12}', 0, 0),
        ('{"result": 12', 0, 0),
        ("12", 0, 0),
        ("", 0, 0),
        ("{" * 5_000, 0, 0),
    ],
)
def test_json_is_right_if_its_first_object_has_the_number(output: str, right: float, valid: float) -> None:
    assert json_result(output, ("12",)) == {"right_percent": right, "valid_json_percent": valid}


def test_an_answer_contains_a_reference_whatever_else_it_says() -> None:
    assert contains("It is 14227, I think.", ("14227",)) == {"found_percent": 100}
    assert contains("It is 1422 7.", ("14227",)) == {"found_percent": 0}
    assert contains("PARIS", ("Lyon", "Paris")) == {"found_percent": 100}


def test_an_exact_match_allows_white_space_around_it_alone() -> None:
    assert exact_match(" yes\n", ("yes",)) == {"exact_match_percent": 100}
    assert exact_match("Yes", ("yes",)) == {"exact_match_percent": 0}


@pytest.mark.parametrize("scorer", [contains, exact_match, json_result])
def test_without_a_reference_nothing_can_be_judged(scorer: object) -> None:
    assert callable(scorer)
    with pytest.raises(Unscored, match="the document has no reference"):
        scorer("an answer", ())


def test_every_scorer_has_its_name_and_figures_of_its_own() -> None:
    scorers = [scorer_named(name) for name in SCORERS]
    assert [one.name for one in scorers] == list(SCORERS)
    assert sum(len(one.figures) for one in scorers) == len(FIGURES)


def test_an_unknown_scorer_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"there is no scorer 'rogue': did you mean 'rouge'\?"):
        scorer_named("rogue")
