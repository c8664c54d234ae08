"""Tests how the real transformers read prompts that are text, and end what they write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
import transformers

from shared.errors import ModelInvalid
from worker.generators.base import END_TOKEN, LENGTH, Ending, Settings
from worker.generators.registry import resolve

TEXT = "A benchmark measures how long"
TEMPLATE = "{% for one in messages %}<s>{{ one.role }}: {{ one.content }}{% endfor %}{% if add_generation_prompt %} assistant:{% endif %}"


def loaded(folder: Path) -> Any:
    generator = resolve("cpu.torch")()
    generator.load(folder / "config.json", Settings(), "cpu.torch", perf_counter_ns)
    return generator


def with_template(tiny: Path, folder: Path, template: str) -> Path:
    shutil.copytree(tiny, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_prompt_without_a_chat_template_is_the_text_itself(tiny: Path) -> None:
    generator = loaded(tiny)
    theirs = transformers.AutoTokenizer.from_pretrained(tiny)
    assert list(generator.encode(TEXT)) == theirs(TEXT)["input_ids"]
    assert generator.facts().runtime["prompt_format"] == "plain text"


def test_a_chat_template_makes_the_prompt_the_message_of_a_user(tiny: Path, tmp_path: Path) -> None:
    generator = loaded(with_template(tiny, tmp_path / "chat", TEMPLATE))
    theirs = transformers.AutoTokenizer.from_pretrained(tiny)
    assert list(generator.encode(TEXT)) == theirs(f"<s>user: {TEXT} assistant:", add_special_tokens=False)["input_ids"]
    assert generator.encode(TEXT)[0] == theirs.bos_token_id, "the token that the template writes stands there once"
    assert generator.encode(TEXT)[1] != theirs.bos_token_id
    assert generator.facts().runtime["prompt_format"] == "chat template"


def test_a_template_that_fails_is_an_error_of_the_model(tiny: Path, tmp_path: Path) -> None:
    generator = loaded(with_template(tiny, tmp_path / "broken", "{{ raise_exception('only tools') }}"))
    with pytest.raises(ModelInvalid, match=r"the tokenizer of broken cannot turn a prompt into tokens: .*only tools"):
        generator.encode(TEXT)


def test_a_model_without_a_tokenizer_cannot_do_a_task(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "mute")
    (tmp_path / "mute" / "tokenizer.json").unlink()
    generator = loaded(tmp_path / "mute")
    with pytest.raises(ModelInvalid, match=r"mute has no tokenizer, so it cannot read text"):
        generator.encode(TEXT)


def test_a_text_ends_with_the_end_token_that_the_generation_config_names(tiny: Path, tmp_path: Path) -> None:
    free = loaded(tiny)
    free.prepare([[free.encode(TEXT)]])
    ids = list(free.write(0, Ending(8)).ids)
    third = ids[2]
    shutil.copytree(tiny, tmp_path / "ends")
    (tmp_path / "ends" / "generation_config.json").write_text(json.dumps({"eos_token_id": [third, 1]}))
    generator = loaded(tmp_path / "ends")
    generator.prepare([[generator.encode(TEXT)]])
    seen: list[int] = []
    written = generator.write(0, Ending(8), lambda: seen.append(1))
    assert (list(written.ids), written.finish_reason) == (ids[: ids.index(third) + 1], END_TOKEN)
    assert len(seen) == len(written.ids)
    assert generator.write(0, Ending(1)).finish_reason == (END_TOKEN if ids[0] == third else LENGTH)
    assert generator.facts().runtime["end_tokens"] == [third, 1]
