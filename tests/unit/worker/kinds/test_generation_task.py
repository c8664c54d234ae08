"""Tests a whole job with a task, on the fake generator: from its assignment to the answers that go with the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.kinds.generation import GenerationSpec
from shared.kinds.generation_task import TaskSection, TaskSpec, task_spec
from shared.protocol.messages import Assignment
from shared.repetition import Warmup
from shared.tasks.base import TaskSettings, filled, prompt_sha256
from shared.tasks.registry import task_named
from shared.workloads import Workload
from shared.written_texts import outputs_in
from tests.measuring import CAMPAIGN, Stages, samples_of, supervisor
from worker.supervisor import Outcome, Supervisor


@pytest.fixture(scope="module")
def measurer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with supervisor(tmp_path_factory.mktemp("measurer")) as made:
        yield made


def asked(name: str = "planted_fact", *, max_tokens: int | None = None, prompt: str | None = None, **settings: Any) -> TaskSpec:
    section = TaskSection(name=name, **{"documents": 3, **settings})
    return task_spec(section, dataset=None, prompt=prompt, max_tokens=max_tokens, evaluate=None)


def work(folder: Path, task: TaskSpec, *, dataset: bytes | None = None, **schedule: Any) -> Assignment:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"first_s": [0.0005], "next_s": [0.0001], "longest": 100_000, **schedule}))
    spec = GenerationSpec(task=task, options=EngineOptions(seed=4))
    inputs = {"model": ModelRef(source=folder.as_uri(), name="known-llm")}
    workload = Workload(spec=spec, inputs=inputs, repeats=2, warmup=Warmup(min_calls=1, min_s=0))
    return Assignment(job_id=f"{CAMPAIGN}-job-1", campaign_id=CAMPAIGN, attempt=1, capability="fake", workload=workload)


def outputs_of(outcome: Outcome) -> list[dict[str, Any]]:
    assert (outcome.status, outcome.error) == ("complete", "")
    content = outcome.files["outputs.jsonl"]
    assert isinstance(content, bytes)
    return outputs_in(content)


def test_the_answers_of_a_task_go_with_the_result(measurer: Supervisor, tmp_path: Path) -> None:
    task = asked(max_tokens=9, words=30)
    outcome = measurer.run(work(tmp_path / "llm", task, answers=["It is 1", "a much longer answer", ""]), Stages())
    documents = task_named("planted_fact").documents(TaskSettings(3, 30, None, 4))
    prompts = [filled(task.prompt, one) for one in documents]
    assert [one["document_id"] for one in outputs_of(outcome)] == [one.id for one in documents]
    assert [one["prompt_sha256"] for one in outputs_of(outcome)] == [prompt_sha256(one) for one in prompts]
    assert [one["input_tokens"] for one in outputs_of(outcome)] == [len(one) for one in prompts]
    assert [(one["output"], one["output_tokens"], one["finish_reason"]) for one in outputs_of(outcome)] == [
        ("It is 1", 8, "stop"),
        ("a much lo", 9, "length"),
        ("", 1, "stop"),
    ]
    assert [one["references"] for one in outputs_of(outcome)] == [list(one.references) for one in documents]
    assert outcome.figures is not None
    detail = outcome.figures.detail
    assert (detail["task"], detail["task_version"], detail["documents"], detail["differing_documents"]) == ("planted_fact", "1", 3, 0)
    assert detail["finish_reasons"] == {"stop": 2, "length": 1}
    assert detail["output_tokens"] == {"min": 1, "median": 8, "max": 9}
    assert outcome.runtime["documents"] == 3
    samples = samples_of(outcome)
    assert list(samples["repeat_1_counts_count"]) == list(samples["repeat_1_plain_counts_count"]) == [8, 9, 1]
    assert [len(samples[f"repeat_0_{name}_ns"]) for name in ("streamed", "tokens", "plain", "warmup")] == [3, 18, 3, 3]


def test_an_answer_ends_with_the_stop_string_of_its_task(measurer: Supervisor, tmp_path: Path) -> None:
    (one, *_) = outputs_of(measurer.run(work(tmp_path / "llm", asked("json_arithmetic"), answers=['{"result": 7} and more']), Stages()))
    assert (one["output"], one["finish_reason"], one["output_tokens"]) == ('{"result": 7}', "stop_string", 13)


@pytest.mark.parametrize(
    ("task", "schedule", "kind", "said"),
    [
        (asked(words=60), {"longest": 400}, "model_invalid", "with max_tokens 16"),
        (asked("summarization"), {"no_tokenizer": True}, "model_invalid", "has no tokenizer"),
        (asked().model_copy(update={"version": "0"}), {}, "engine_unavailable", "this worker has the version 1 of the task planted_fact"),
        (asked().model_copy(update={"name": "gone"}), {}, "engine_unavailable", "this worker: there is no task 'gone'"),
        (asked("summarization", documents=99), {}, "model_invalid", "task.documents asks for 99 documents"),
        (asked(), {"raises": "it broke"}, "model_invalid", "the fake model says: it broke"),
    ],
    ids=["too long", "no tokenizer", "another version", "an unknown task", "too few documents", "an error"],
)
def test_a_task_that_cannot_be_done_fails_with_its_reason(
    measurer: Supervisor, tmp_path: Path, task: TaskSpec, schedule: dict[str, Any], kind: str, said: str
) -> None:
    outcome = measurer.run(work(tmp_path / "bad", task, **schedule), Stages())
    assert (outcome.status, outcome.error_kind) == ("failed", kind)
    assert said in outcome.error
    if schedule.get("longest"):
        assert "document '" in outcome.error
        assert "3 documents are too long" in outcome.error
