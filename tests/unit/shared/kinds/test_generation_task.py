"""Tests the keys of a recipe with a task, and what of them is stored with a job."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.stored import read_workload, written
from shared.errors import InvalidInput
from shared.inputs import ModelRef
from shared.kinds.generation import GenerationSpec
from shared.recipes import load_recipe, parse_recipe
from shared.recipes.cells import cells_of
from shared.workloads import Workload

BASE = "model: models/tiny\non: [cpu.torch]\n"
MODEL = ModelRef(source="https://models.example/tiny", name="tiny")


def spec_of(**more: Any) -> GenerationSpec:
    (cell,) = cells_of(parse_recipe({"model": "models/tiny", "on": ["cpu.torch"], **more}))
    spec = cell.spec()
    assert isinstance(spec, GenerationSpec)
    return spec


def test_what_a_recipe_leaves_out_is_what_the_task_says() -> None:
    recipe = load_recipe(BASE + "task: summarization")
    assert (recipe.kind, recipe.repeats) == ("generation", 3)
    task = spec_of(task="summarization").task
    assert task is not None
    assert (task.version, task.max_tokens, task.evaluate, task.dataset, task.stop) == ("1", 128, ("rouge",), "samples", ())
    own = spec_of(
        task={"name": "planted_fact", "words": 50, "depth": 1}, max_tokens=5, prompt="{document} {question}", evaluate=["contains", "rouge"]
    ).task
    assert own is not None
    assert (own.words, own.depth, own.max_tokens, own.prompt, own.evaluate) == (50, 1.0, 5, "{document} {question}", ("contains", "rouge"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: sumarization", r"task\.name: line 3: there is no task 'sumarization': did you mean 'summarization'\?"),
        ("task: summarization\nevaluate: [rogue]", r"evaluate\.0: line 4: there is no scorer 'rogue': did you mean 'rouge'\?"),
        ("task: summarization\nevaluate: [rouge, rouge]", r"evaluate names a scorer twice"),
        ("task: summarization\nevaluate: rouge", r"evaluate: line 4: must be a list: write \[rouge\]"),
        ("task: summarization\nmax_tokens: 0", r"max_tokens: line 4: Input should be greater than or equal to 1, not 0"),
        (
            "task: summarization\nprompt: Summarize it.",
            r"prompt: line 4: a prompt says where the document stands: write",
        ),
        ("task: {name: summarization, words: 5}", r"task\.words has no effect on the task summarization: .* its settings: task\.documents"),
        ("task: {name: planted_fact, depth: 1.5}", r"task\.depth: line 3: Input should be less than or equal to 1, not 1\.5"),
        ("task: {name: planted_fact, depht: 1}", r"task.*unknown key 'depht': did you mean 'depth'\?"),
        ("task: {words: 5}", r"task\.name.*Field required"),
        ("task: 5", r"task: line 3: must be a mapping of keys"),
        ("task: json_arithmetic\ndataset: my.jsonl", r"`dataset` has no effect on the task json_arithmetic, which makes its own documents"),
        ("task: summarization\nprompts: {}", r"a recipe has `prompts` or `task`, not both"),
        ("prompts: {}\nmax_tokens: 5", r"`max_tokens` stands beside `task`, and this recipe has `prompts`"),
        ("max_tokens: 5", r"`max_tokens` cannot stand beside `model`"),
        ("task: summarization\ninferences: 3", r"`inferences` cannot stand beside `task`"),
        ("task: summarization\noptions: {batch_size: 4}", r"options\.batch_size 4 cannot stand beside `task`"),
        ("task: summarization\nsweep: {options.batch_size: [1, 4]}", r"options\.batch_size 4 cannot stand beside `task`"),
        ("task: summarization\nsweep: {task.words: [10, 20]}", r"task\.words has no effect"),
    ],
)
def test_what_has_no_effect_or_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        list(cells_of(load_recipe(BASE + text)))


def test_every_key_of_a_task_can_be_swept() -> None:
    swept = {"task.depth": [0, 1], "max_tokens": [5, 9], "decoding.temperature": [0, 0.5]}
    cells = list(cells_of(parse_recipe({"model": "a", "on": ["cpu.torch"], "task": "planted_fact", "sweep": swept})))
    found = {(one.spec().task.depth, one.spec().task.max_tokens, one.spec().decoding.temperature) for one in cells}  # type: ignore[attr-defined]
    assert found == {(depth, most, heat) for depth in (0.0, 1.0) for most in (5, 9) for heat in (0.0, 0.5)}
    recipe = load_recipe(BASE + "task: summarization\nsweep: {dataset: [samples, aclsum], prompt: ['a {document}', 'b {document}']}")
    assert len(list(cells_of(recipe))) == 4


def test_a_job_is_stored_with_its_task_and_its_data_set_and_is_read_back() -> None:
    dataset = ModelRef(source=f"sha256:{'0' * 64}", name="my.jsonl", sha256="0" * 64, size=9)
    workload = Workload(spec=spec_of(task="summarization", dataset="my.jsonl"), inputs={"model": MODEL, "dataset": dataset}, repeats=3)
    stored = written(workload)
    assert stored["task"]["dataset"] == "my.jsonl"
    assert stored["dataset"]["name"] == "my.jsonl"
    assert "prompts" not in stored
    assert read_workload(stored) == workload
    assert list(read_workload(stored).inputs) == ["model", "dataset"], "the model comes first: its name is that of the job"


def test_a_job_without_a_task_is_what_workers_of_the_version_before_know() -> None:
    content = Workload(spec=GenerationSpec(), inputs={"model": MODEL}, repeats=3).model_dump(mode="json")
    assert "task" not in content
    assert "dataset" not in content
