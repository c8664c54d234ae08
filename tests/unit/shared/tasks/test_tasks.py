"""Tests the tasks: the same settings give the same documents, and the right answers are right."""

from __future__ import annotations

import ast
import operator
from pathlib import Path

import pytest

from shared.scorers.registry import scorer_named
from shared.tasks.base import DOCUMENT, Document, TaskSettings, end_of, filled
from shared.tasks.registry import TASKS, task_named

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def calculated(text: str) -> int:
    """Return the value of an expression of whole numbers, found without the code under test."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return int(_OPERATORS[type(node.op)](value(node.left), value(node.right)))
        assert isinstance(node, ast.Constant)
        return int(str(node.value))

    return value(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_keeps_its_promises(name: str) -> None:
    task = task_named(name)
    documents = task.documents(TaskSettings(documents=3, seed=5))
    assert task.name == name
    assert DOCUMENT in task.prompt
    assert task.meaning
    assert len({one.id for one in documents}) == len(documents) == 3
    assert documents == task.documents(TaskSettings(documents=3, seed=5)), "the same settings give the same documents"
    for scorer in task.scorers:
        for one in documents:
            assert one.references
            assert all(value >= 0 for value in scorer_named(scorer).score("no answer", one.references).values())


def test_the_articles_of_our_own_vary_in_length_and_each_has_a_shorter_summary() -> None:
    articles = task_named("summarization").documents(TaskSettings())
    lengths = sorted(len(one.text.split()) for one in articles)
    assert len(articles) >= 12
    assert lengths[-1] > 4 * lengths[0]
    assert all(len(one.references[0]) < 0.7 * len(one.text) for one in articles)


def test_more_documents_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"task.documents asks for 99 documents, and the data set has 14"):
        task_named("summarization").documents(TaskSettings(documents=99))


def test_aclsum_that_is_not_installed_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="pip install --no-deps aclsum"):
        task_named("summarization").documents(TaskSettings(dataset="aclsum"))


def test_aclsum_is_read_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "aclsum" / "dataset"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    paper = (
        '{"id": "%s", "title": "T", "sentences": {"abstract": ["A.", "B."], "conclusion": ["C."]}, '
        '"summary": {"challenge": "c ", "approach": "a", "outcome": "o"}}\n'
    )
    for split in ("train", "val", "test"):
        (folder / f"{split}.jsonl").write_text(paper % "P1" + paper % "P2")
    monkeypatch.syspath_prepend(tmp_path)
    found = task_named("summarization").documents(TaskSettings(dataset="aclsum"))
    assert [one.id for one in found] == ["train-P1", "train-P2", "val-P1", "val-P2", "test-P1", "test-P2"]
    assert found[0] == Document("train-P1", "T\n\nA. B.\n\nC.", ("c a o",))


@pytest.mark.parametrize(("depth", "place"), [(0.0, "first"), (0.5, "middle"), (1.0, "last")])
def test_a_planted_fact_stands_once_and_where_it_was_asked_for(depth: float, place: str) -> None:
    for one in task_named("planted_fact").documents(TaskSettings(documents=4, words=1_000, depth=depth)):
        sentences = one.text.split(". ")
        index = next(number for number, sentence in enumerate(sentences) if sentence.startswith("The code of the"))
        assert one.text.count(one.references[0]) == 1
        assert {"first": index == 0, "middle": abs(index - len(sentences) / 2) <= 1, "last": index == len(sentences) - 1}[place]
        assert 1_000 <= len(one.text.split()) < 1_030


def test_planted_facts_without_a_depth_go_from_the_beginning_to_the_end() -> None:
    documents = task_named("planted_fact").documents(TaskSettings(documents=5))
    assert [one.id for one in documents] == ["1-at-0%", "2-at-25%", "3-at-50%", "4-at-75%", "5-at-100%"]


def test_the_results_of_the_calculations_are_exact() -> None:
    for one in task_named("json_arithmetic").documents(TaskSettings(documents=100, seed=2)):
        assert one.references == (str(calculated(one.text)),)


def test_another_seed_gives_other_documents() -> None:
    for name in ("planted_fact", "json_arithmetic"):
        assert task_named(name).documents(TaskSettings(seed=1)) != task_named(name).documents(TaskSettings(seed=2))


def test_braces_in_a_document_are_no_places_of_the_template() -> None:
    document = Document("a", "what {question} and {document} mean", question="why?")
    assert filled("Read {document}. {question}", document) == "Read what {question} and {document} mean. why?"


def test_a_text_ends_behind_the_first_stop_string_in_it() -> None:
    assert end_of('{"result": 3} or {"result": 4}', ("}", "or")) == '{"result": 3}'
    assert end_of("no end", ("}",)) == "no end"


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"there is no task 'sumarization': did you mean 'summarization'\? Known: summarization"):
        task_named("sumarization")
