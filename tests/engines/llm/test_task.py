"""Tests a task on the real transformers: the answers are those of calls that these tests make by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from shared.errors import ModelInvalid
from shared.kinds.generation import DecodingSection, GenerationSpec
from shared.kinds.generation_task import TaskSection, task_spec
from shared.series import Record
from shared.tasks.base import TaskSettings, filled
from shared.tasks.registry import task_named
from worker.kinds.generation import GenerationMeasure
from worker.measured.request import RunRequest


def measured(folder: Path, record: Path, *, max_tokens: int = 12, temperature: float = 0.0, name: str = "summarization") -> Record:
    task = task_spec(TaskSection(name=name, documents=3), dataset=None, prompt=None, max_tokens=max_tokens, evaluate=None)
    spec = GenerationSpec(task=task, decoding=DecodingSection(temperature=temperature)).model_dump(mode="json")
    request = RunRequest("generation", "cpu.torch", spec, str(record), {"model": str(folder / "config.json")}, warmup_min_calls=1)
    return GenerationMeasure().run(request, lambda _phase: None)


def by_hand(folder: Path, max_tokens: int) -> list[list[int]]:
    """Return the new tokens of each document, from one call of `generate` for each."""
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    task, found = task_named("summarization"), []
    for document in task.documents(TaskSettings(documents=3)):
        ids = tokenizer(filled(task.prompt, document), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False, pad_token_id=0)
        found.append(answer[0, ids.shape[1] :].tolist())
    return found


def test_the_answers_are_those_of_generate_called_by_hand(tiny: Path, tmp_path: Path) -> None:
    record = measured(tiny, tmp_path / "record")
    tokenizer, wanted = transformers.AutoTokenizer.from_pretrained(tiny), by_hand(tiny, 12)
    outputs = record.facts["outputs"]
    assert [one["output"] for one in outputs] == [tokenizer.decode(ids, skip_special_tokens=True) for ids in wanted]
    assert [one["output_tokens"] for one in outputs] == list(record.series["counts"].values) == [len(ids) for ids in wanted]
    assert record.facts["runtime"]["prompt_format"] == "plain text"
    assert record.facts["runtime"]["random_weights"] is True
    assert len(record.series["tokens"].values) == sum(map(len, wanted))


def test_answers_end_where_the_model_ends_them(tiny: Path, tmp_path: Path) -> None:
    free = by_hand(tiny, 6)
    folder = tmp_path / "ends"
    folder.mkdir()
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": free[0][1]}))
    outputs = measured(folder, tmp_path / "record", max_tokens=6).facts["outputs"]
    expected: list[Any] = [ids[: ids.index(free[0][1]) + 1] if free[0][1] in ids else ids for ids in free]
    assert [one["output_tokens"] for one in outputs] == [len(ids) for ids in expected]
    assert outputs[0]["finish_reason"] == "stop"


def test_drawn_answers_are_the_same_in_both_passes_and_in_each_process(tiny: Path, tmp_path: Path) -> None:
    first, second = (measured(tiny, tmp_path / "record", temperature=1.0) for _ in range(2))
    assert first.facts["outputs"] == second.facts["outputs"]
    assert list(first.series["counts"].values) == list(first.series["plain_counts"].values)
    assert first.facts["outputs"] != measured(tiny, tmp_path / "record").facts["outputs"]


def test_a_document_that_does_not_fit_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"document '.*' is \d+ tokens with its prompt, and with max_tokens 100000 \d+ together"):
        measured(tiny, tmp_path / "record", max_tokens=100_000)
