"""Tests the process of a scorer. Scorers of other packages may do anything; every document still has a score or a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.scoring import run
from orchestrator.scoring.process import answer
from orchestrator.scoring.run import Stopped, score
from shared.scorers import registry
from tests.plugins import install

ANSWERS = [{"output": "the cat", "references": ["the cat sat"]}, {"output": "bad", "references": ["x"]}, {"output": "", "references": []}]
SOURCE = """
import os, time
from shared.figures import FigureKind
from shared.scorers.base import Scorer, Unscored

def letters(output, references):
    print("what a scorer prints is no part of the answer")
    if output == "bad":
        raise ZeroDivisionError("it broke")
    if not output:
        raise Unscored("nothing to count")
    return {"letters": len(output)}

def nothing(output, references):
    return {"letters": float("nan")} if output else {}

def crash(output, references):
    os._exit(7)

def silent(output, references):
    os._exit(0)

def endless(output, references):
    time.sleep(60)

KINDS = {"letters": FigureKind("1", "higher", "letters of an answer")}
LETTERS = Scorer("mine", "3", KINDS, letters, settings=lambda: {"case": "kept"})
NOTHING, CRASH, SILENT, ENDLESS = (Scorer("mine", "1", KINDS, one) for one in (nothing, crash, silent, endless))
LACKING = Scorer("mine", "1", KINDS, letters, needs=("no_such_library",))
"""


Installed = Callable[[str], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Installs the package with the scorer of this name, for this process and for those that it starts."""

    def installed(name: str) -> None:
        folder = install(tmp_path / name, {"mine": f"toy_scorers:{name}"}, SOURCE, group="fleetmark.scorers", module="toy_scorers")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.syspath_prepend(folder)
        registry._of_packages.cache_clear()

    yield installed
    sys.modules.pop("toy_scorers", None)
    registry._of_packages.cache_clear()


def test_a_scorer_of_another_package_judges_what_it_can_and_says_what_it_cannot(package: Installed) -> None:
    package("LETTERS")
    scored = score("mine", ANSWERS)
    assert list(scored.each) == [
        {"letters": 7.0},
        {"unscored": "the scorer raised ZeroDivisionError: it broke"},
        {"unscored": "nothing to count"},
    ]
    assert scored.facts == {"version": "3", "settings": {"case": "kept"}, "package": "toys 1.0"}


def test_more_answers_than_a_pipe_holds_reach_a_scorer_that_works_longer_than_one_look(
    package: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    package("LETTERS")
    monkeypatch.setattr(run, "LOOK_S", 0.01)
    scored = score("mine", [{"output": "x" * 1_000, "references": ["y"]}] * 300)
    assert list(scored.each) == [{"letters": 1_000.0}] * 300


def test_what_is_no_number_for_each_figure_is_no_score(package: Installed) -> None:
    package("NOTHING")
    first, _, last = answer({"scorer": "mine", "answers": ANSWERS})["scores"]
    assert first == {"unscored": "the scorer returned nan for letters"}
    assert last == {"unscored": "the scorer did not return a number for each of letters: KeyError('letters')"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LACKING", "the scorer mine needs no_such_library, which the orchestrator does not have"),
        ("NO_SUCH_NAME", "mine of the package toys 1.0 cannot be loaded from toy_scorers:NO_SUCH_NAME"),
        ("KINDS", "toy_scorers:KINDS is dict, and must be a Scorer of shared.scorers.base"),
    ],
)
def test_a_scorer_that_cannot_be_used_says_why(package: Installed, name: str, said: str) -> None:
    package(name)
    assert said in answer({"scorer": "mine", "answers": ANSWERS})["unscored"]


def test_a_scorer_that_nobody_brings_any_more_is_a_reason() -> None:
    assert "there is no scorer 'gone'" in answer({"scorer": "gone", "answers": ANSWERS})["unscored"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CRASH", "the process of the scorer mine ended with 7"),
        pytest.param("SILENT", "gave no answer: it ended before its work was done", marks=pytest.mark.long),
        pytest.param("LACKING", "the scorer mine needs no_such_library", marks=pytest.mark.long),
    ],
)
def test_however_the_process_of_a_scorer_ends_every_document_has_the_reason(package: Installed, name: str, said: str) -> None:
    package(name)
    scored = score("mine", ANSWERS)
    assert len(scored.each) == len(ANSWERS)
    assert all(said in one["unscored"] for one in scored.each)


def test_a_scorer_that_does_not_end_is_ended(package: Installed) -> None:
    package("ENDLESS")
    assert score("mine", ANSWERS, longest_s=0.5).each[0] == {"unscored": "the scorer mine took longer than 0.5 s"}


@pytest.mark.long
def test_a_scorer_ends_when_the_orchestrator_does(package: Installed) -> None:
    package("ENDLESS")
    with pytest.raises(Stopped):
        score("mine", ANSWERS, stopped=lambda: True)
