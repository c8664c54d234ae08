"""Tests that our ROUGE is that of rouge-score, called by hand, and what happens to texts that it cannot judge."""

from __future__ import annotations

import pytest
from rouge_score.rouge_scorer import RougeScorer

from shared.scorers.base import Unscored
from shared.scorers.rouge import TYPES, score, sentences, settings
from shared.tasks.base import TaskSettings
from shared.tasks.registry import task_named

PAIRS = [
    ("The cat sat on the mat.", "A cat was sitting on a mat. It purred."),
    (
        "Bakers went on strike. The mayor offers vans from four! Will they vote?",
        "The bakers struck for a day. They vote on the mayor's offer.",
    ),
    ("running runs runner", "He runs, and she ran."),
    ("Nothing in common", "quite different words"),
]


@pytest.mark.parametrize(("output", "reference"), PAIRS)
def test_the_numbers_are_those_of_rouge_score_called_by_hand(output: str, reference: str) -> None:
    by_hand = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(reference, output)
    found = score(output, (reference,))
    assert {name: found[name] for name in by_hand} == {name: pytest.approx(100 * one.fmeasure) for name, one in by_hand.items()}


def test_rouge_lsum_takes_sentences_one_by_one_although_the_texts_have_no_line_breaks() -> None:
    output, reference = "The mayor offers vans. The bakers vote.", "The bakers vote on Thursday. The mayor offers electric vans."
    scorer = RougeScorer(["rougeLsum"], use_stemmer=True)
    by_hand = scorer.score("The bakers vote on Thursday.\nThe mayor offers electric vans.", "The mayor offers vans.\nThe bakers vote.")
    without = scorer.score(reference, output)
    found = score(output, (reference,))
    assert found["rougeLsum"] == pytest.approx(100 * by_hand["rougeLsum"].fmeasure)
    assert found["rougeLsum"] > 100 * without["rougeLsum"].fmeasure + 10, "without line breaks it is silently rougeL"
    assert found["rougeL"] == pytest.approx(100 * without["rougeLsum"].fmeasure)


def test_line_breaks_of_the_texts_change_nothing_but_the_sentences() -> None:
    assert score("One.\n\nTwo three.", ("One. Two three.",)) == dict.fromkeys(TYPES, 100.0)


def test_sentences_end_at_their_marks_and_at_line_breaks() -> None:
    text = 'He said "Go!" Then 3.5 km. (Really?) No\nfull stop'
    assert sentences(text).split("\n") == ['He said "Go!"', "Then 3.5 km.", "(Really?)", "No", "full stop"]


def test_the_best_of_several_references_counts_for_each_number() -> None:
    found = score("the cat sat", ("a dog ran", "the cat sat"))
    assert found == dict.fromkeys(TYPES, 100.0)
    assert score("the cat sat", ("", "the cat sat")) == found


@pytest.mark.parametrize("output", ["", "  \n"])
def test_an_empty_answer_has_0(output: str) -> None:
    assert score(output, ("The cat sat.",)) == dict.fromkeys(TYPES, 0.0)


@pytest.mark.parametrize(
    ("output", "reference", "said"),
    [
        ("Кошка сидела на ковре.", "Кошка сидела.", "18 of the 18 in the answer are others"),
        ("The cat sat.", "猫はマットの上に座った。", "11 of the 11 in the reference are others"),
        ("Η γάτα κάθισε, ok", "The cat sat.", "in the answer are others"),
        ("The cat sat.", "", "the document has no reference"),
    ],
)
def test_what_cannot_be_judged_is_unscored_and_not_0(output: str, reference: str, said: str) -> None:
    with pytest.raises(Unscored, match=said):
        score(output, (reference,))


def test_letters_with_marks_do_not_make_a_text_another_script() -> None:
    assert score("Die Bäcker streiken für höhere Löhne.", ("Die Bäcker streiken für mehr Zeit.",))["rouge1"] > 50


def test_the_settings_name_the_library_with_its_version() -> None:
    assert str(settings()["library"]).startswith("rouge-score 0.")


@pytest.mark.timeout(60)
def test_the_samples_score_100_against_themselves() -> None:
    articles = task_named("summarization").documents(TaskSettings())
    assert all(score(one.references[0], one.references) == dict.fromkeys(TYPES, pytest.approx(100.0)) for one in articles)
