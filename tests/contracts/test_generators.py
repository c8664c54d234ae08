"""Tests that every generator keeps its promises to the passes. `make test-llm` runs the suite on transformers, too."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import pytest

from shared.errors import EngineUnavailable, JobError
from worker.generators.base import COMPILE, IMPORT, LENGTH, STOP_STRING, TOKENIZER, WEIGHTS, Ending, Generator, Settings
from worker.generators.registry import GENERATORS, resolve

PROMPTS = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]


def schedule(folder: Path) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"load_s": 0.001, "longest": 64, "weights_bytes": 1_000, "kv_bytes_per_token": 8}))
    return path


def tiny_llama(folder: Path) -> Path:
    from tools.tiny_llama import make  # needs torch

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}  # vLLM takes no heads below 32
    return make(folder / "tiny", num_hidden_layers=1, **sizes) / "config.json"


MODELS: dict[str, Callable[[Path], Path]] = {"fake": schedule, "cpu.torch": tiny_llama, "cpu.vllm": tiny_llama}
SETTINGS = {"cpu.vllm": Settings(batch_size=2, compile="none", max_model_len=256, gpu_memory_utilization=0.1, threads=1)}


@pytest.fixture(scope="module", params=[name for name in MODELS if all(find_spec(one) for one in GENERATORS[name].needs)])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[name](tmp_path_factory.mktemp("model"))


class Loaded(NamedTuple):
    generator: Generator
    stages: Mapping[str, int | None]
    took_ns: int


@pytest.fixture(scope="module")
def loading(name: str, model: Path) -> Iterator[Loaded]:
    generator = resolve(name)()
    before = perf_counter_ns()
    stages = generator.load(model, SETTINGS.get(name, Settings()), name, perf_counter_ns)
    took = perf_counter_ns() - before
    generator.prepare(PROMPTS)
    yield Loaded(generator, stages, took)
    generator.unload()


@pytest.fixture(scope="module")
def loaded(loading: Loaded) -> Generator:
    return loading.generator


def test_loading_says_how_long_each_stage_took(loading: Loaded) -> None:
    assert set(loading.stages) == {IMPORT, TOKENIZER, WEIGHTS, COMPILE}
    assert 0 < sum(taken or 0 for taken in loading.stages.values()) <= loading.took_ns


def test_it_says_what_it_has_compiled_and_what_each_step_reads(loaded: Generator) -> None:
    before = loaded.compiled()
    loaded.generate(0, 3)
    assert (loaded.compiled().times, loaded.compiled().ns) >= (before.times, before.ns) >= (0, 0)
    reads = loaded.reads()
    assert reads.unknown or reads.weights_bytes > reads.kv_bytes_per_token >= 0


@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_a_call_writes_exactly_as_many_tokens_as_it_was_asked_for(loaded: Generator, tokens: int) -> None:
    seen: list[int] = []
    assert list(loaded.generate(0, tokens)) == [tokens] * 2
    assert list(loaded.generate(1, tokens, lambda: seen.append(perf_counter_ns()))) == [tokens] * 2
    assert len(seen) == tokens, "once for each token of the whole batch"
    assert seen == sorted(seen)


def test_it_says_what_prompts_it_takes(loaded: Generator) -> None:
    assert loaded.vocabulary() > 12
    assert (loaded.longest() or 0) >= 12


def test_its_facts_are_json_and_name_the_runtime(loaded: Generator) -> None:
    facts = loaded.facts()
    assert json.loads(json.dumps(facts.runtime))["runtime"]
    assert all(isinstance(version, str) and version for version in facts.software.values())
    loaded.start_phase()
    assert loaded.peak_gpu_mb() is None


TEXTS = ("The first token of an answer.", "A result says little about the next run, and a benchmark measures work.")


@pytest.fixture
def writer(loaded: Generator) -> Iterator[Generator]:
    loaded.prepare([[loaded.encode(text)] for text in TEXTS])
    yield loaded
    loaded.prepare(PROMPTS)


def test_a_text_survives_its_way_through_the_tokens(writer: Generator) -> None:
    for text in TEXTS:
        ids = writer.encode(text)
        assert ids
        assert all(0 <= one < 0x110000 for one in ids)
        assert writer.decode(ids).strip() == text
    assert writer.facts().runtime["prompt_format"] == "plain text"


@pytest.mark.parametrize("batch", [0, 1])
def test_a_text_is_written_up_to_the_most_tokens_and_each_is_shown(writer: Generator, batch: int) -> None:
    seen: list[int] = []
    plain = writer.write(batch, Ending(7))
    streamed = writer.write(batch, Ending(7), lambda: seen.append(perf_counter_ns()))
    assert (len(plain.ids), plain.finish_reason) == (7, LENGTH)
    assert list(streamed.ids) == list(plain.ids), "looking at the tokens changes none"
    assert len(seen) == 7


def test_a_text_ends_with_the_token_that_completes_a_stop_string(writer: Generator) -> None:
    free = writer.write(1, Ending(9))
    text = writer.decode(free.ids)
    stop = text[2:4]  # it need not be a whole token
    written = writer.write(1, Ending(9, (stop,)))
    assert written.finish_reason == STOP_STRING
    assert list(written.ids) == list(free.ids[: len(written.ids)])
    assert stop in writer.decode(written.ids)
    assert stop not in writer.decode(written.ids[:-1])


def test_drawn_tokens_are_the_same_each_time_a_prompt_is_used(name: str, model: Path) -> None:
    generator = resolve(name)()
    generator.load(model, replace(SETTINGS.get(name, Settings()), temperature=1.0, seed=3), name, perf_counter_ns)
    generator.prepare([[generator.encode(text)] for text in TEXTS])
    first, _, again = (list(generator.write(batch, Ending(6)).ids) for batch in (0, 1, 0))
    assert again == first


def test_a_model_that_is_not_one_is_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("no model")
    with pytest.raises(JobError) as refusal:
        resolve(name)().load(tmp_path / "config.json", Settings(), name, perf_counter_ns)
    assert "config.json" in refusal.value.detail


def test_an_error_of_its_own_is_explained_and_a_defect_of_ours_is_not(loaded: Generator) -> None:
    class Ours(Exception):
        pass

    assert loaded.explain(Ours("x")) is None


@pytest.mark.parametrize("capability", list(GENERATORS))
def test_every_entry_has_the_methods_of_the_port_with_their_arguments(capability: str) -> None:
    entry = GENERATORS[capability]
    module, _, target = entry.target.partition(":")
    generator = getattr(__import__(module, fromlist=[target]), target)  # imports no library: loading a model does
    port = {name: inspect.signature(method) for name, method in vars(Generator).items() if inspect.isfunction(method) and name[0] != "_"}
    assert len(port) >= 12
    for method, wanted in port.items():
        assert list(inspect.signature(getattr(generator, method)).parameters) == list(wanted.parameters), method


def test_a_capability_without_a_generator_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(EngineUnavailable, match=r"no language model runs on 'cpu\.onnx' here. Known: cpu\.torch, gpu\.cuda\.torch, "):
        resolve("cpu.onnx")


@pytest.mark.skipif(find_spec("transformers") is not None, reason="says what happens where transformers is not installed")
def test_a_missing_library_is_a_sentence_with_the_command_that_installs_it() -> None:
    with pytest.raises(EngineUnavailable, match=r"a language model on cpu\.torch needs \w+, which is not installed: .*transformers"):
        resolve("cpu.torch")
