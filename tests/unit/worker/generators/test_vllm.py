"""Tests vLLM in the measured process with a double of vLLM. `make test-vllm` runs the same code on the real one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from tests.vllm_double import Double, RequestOutputKind, installed
from worker.generators.base import COMPILE, END_TOKEN, IMPORT, LENGTH, STOP_STRING, TOKENIZER, WEIGHTS, Ending, Settings
from worker.generators.fake import KnownClock
from worker.generators.registry import GENERATORS, check_settings
from worker.generators.snapshot import SAID_RANDOM
from worker.generators.vllm import VllmGenerator
from worker.generators.vllm_presence import said_of

PROMPTS = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]


@pytest.fixture
def vllm() -> Iterator[Double]:
    before = dict(os.environ)
    with installed() as double:
        yield double
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "model.embed_tokens.weight": {"dtype": "F32", "shape": [100, 64], "data_offsets": [0, 25_600]},
            "model.layers.0.mlp.weight": {"dtype": "F32", "shape": [64, 64], "data_offsets": [25_600, 41_984]},
            "lm_head.weight": {"dtype": "F32", "shape": [100, 64], "data_offsets": [41_984, 67_584]},
        }
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "tokenizer.json").write_text("{}")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "llama", "random_weights": True}))
    return path


def loaded(model: Path, settings: Settings = Settings(batch_size=2), capability: str = "cpu.vllm") -> VllmGenerator:  # noqa: B008 - frozen
    generator = VllmGenerator()
    generator.load(model, settings, capability, KnownClock())
    generator.prepare(PROMPTS)
    return generator


def arguments(generator: VllmGenerator) -> Any:
    return generator._config.arguments


def test_the_engine_runs_in_this_process_without_a_cache_of_prefixes_and_with_the_options_of_the_recipe(vllm: Double, model: Path) -> None:
    settings = Settings(
        batch_size=3,
        dtype="float16",
        max_model_len=128,
        gpu_memory_utilization=0.5,
        tensor_parallel_size=2,
        compile="none",
        seed=4,
        threads=7,
    )
    asked = arguments(loaded(model, settings))
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert (asked.enable_prefix_caching, asked.disable_log_stats, asked.load_format) == (False, False, "safetensors")
    assert (asked.trust_remote_code, asked.generation_config) == (False, "vllm")
    assert (asked.dtype, asked.max_model_len, asked.gpu_memory_utilization) == ("float16", 128, 0.5)
    assert (asked.tensor_parallel_size, asked.enforce_eager, asked.seed, asked.max_num_seqs) == (2, True, 4, 3)
    assert vllm.threads == 7
    of_its_own = arguments(loaded(model))
    assert (of_its_own.dtype, of_its_own.max_model_len, of_its_own.gpu_memory_utilization) == ("auto", None, 0.92), "vLLM's own defaults"


def test_a_cold_start_has_its_stages(vllm: Double, model: Path) -> None:
    class Ticking(KnownClock):
        def __call__(self) -> int:
            self.now_ns += 1
            return self.now_ns

    stages = VllmGenerator().load(model, Settings(), "cpu.vllm", Ticking())
    assert stages == {IMPORT: 1, TOKENIZER: 1, WEIGHTS: 1, COMPILE: 1}


@pytest.mark.parametrize("streamed", [False, True])
def test_each_call_asks_for_an_exact_length_and_for_no_text(vllm: Double, model: Path, streamed: bool) -> None:
    assert loaded(model).generate(0, 5, (lambda: None) if streamed else None) == [5, 5]
    first, second = vllm.asked
    assert first == second
    assert (first.min_tokens, first.max_tokens, first.ignore_eos, first.detokenize, first.temperature) == (5, 5, True, False, 0.0)
    assert first.output_kind is (RequestOutputKind.DELTA if streamed else RequestOutputKind.FINAL_ONLY)


def test_drawing_is_what_the_recipe_says(vllm: Double, model: Path) -> None:
    loaded(model, Settings(batch_size=2, temperature=0.7, top_k=40, top_p=0.9)).generate(0, 1)
    assert (vllm.asked[0].temperature, vllm.asked[0].top_k, vllm.asked[0].top_p) == (0.7, 40, 0.9)


def test_a_token_is_visible_in_the_step_that_hands_it_out_for_the_last_of_the_sequences(vllm: Double, model: Path) -> None:
    vllm.prompts_of_a_step = 1  # the second prompt is read in the second step
    generator = loaded(model)
    vllm.log.clear()
    generator.generate(0, 2, lambda: vllm.log.append("visible"))
    assert vllm.log == ["step", "step", "visible", "step", "visible"]


def test_tokens_that_come_together_are_all_visible(vllm: Double, model: Path) -> None:
    vllm.tokens_of_a_step = 3
    generator = loaded(model)
    vllm.log.clear()
    assert generator.generate(0, 4, lambda: vllm.log.append("visible")) == [4, 4]
    assert vllm.log == ["step", *["visible"] * 3, "step", "visible"]


def test_a_wrong_length_is_reported(vllm: Double, model: Path) -> None:
    vllm.loses = 1
    assert loaded(model).generate(0, 4) == [3, 3], "the passes fail the job"


def test_a_prompt_from_a_cache_fails_the_job(vllm: Double, model: Path) -> None:
    vllm.cached = 2
    with pytest.raises(ModelInvalid, match="took 2 tokens of a prompt from a cache although prefix caching is off"):
        loaded(model).generate(0, 2)


def test_a_batch_whose_sequences_would_wait_for_each_other_is_refused_with_what_fits(vllm: Double, model: Path) -> None:
    vllm.blocks = 3  # of 16 tokens
    generator = loaded(model)
    assert generator.generate(0, 13) == [13, 13], "one block each"
    with pytest.raises(
        ModelInvalid, match=r"2 sequences of 32 tokens do not fit .* holds 48 tokens.* At most 1 fit: give a smaller options\."
    ):
        generator.generate(0, 14)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the "
            "available KV cache memory (2.00 GiB). Based on the available memory, the estimated maximum model length is 16384. Try",
            r"give options\.max_model_len: 16384, which fits",
        ),
        ("Free memory on device cuda:0 (3/80 GiB) on startup is less than desired", r"give a smaller options\.gpu_memory_utilization"),
        ("No available memory for the cache blocks. Try increasing", r"a larger one if the model does not fit"),
        ("Total number of attention heads (6) must be divisible by tensor parallel size (4).", r"options\.tensor_parallel_size"),
        ("Not enough allowed NUMA nodes to bind threads of 2 local CPUWorkers.", "on a CPU, its NUMA nodes are the devices"),
        ("CUDA out of memory. Tried to allocate 2 GiB", "does not fit into the memory of cpu"),
        ("Model architectures ['MineForCausalLM'] are not supported for now", "measure it with transformers"),
        ("something else", r"vLLM 0\.32\.0\+double cannot run .*: something else"),
    ],
)
def test_what_vllm_refuses_is_said_with_what_to_do(vllm: Double, model: Path, raised: str, said: str) -> None:
    vllm.raises = raised
    with pytest.raises(JobError, match=said) as refusal:
        loaded(model)
    assert refusal.value.detail.startswith(("vLLM", "the keys", model.parent.name))


def test_a_context_that_is_longer_than_the_models_is_named(vllm: Double, model: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"options\.max_model_len is longer than the context"):
        loaded(model, Settings(max_model_len=4_096))


def test_a_mode_of_compiling_that_vllm_has_not_is_refused(vllm: Double, model: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"options\.compile is 'max-autotune', and vLLM has no such mode"):
        loaded(model, Settings(compile="max-autotune"))


def test_a_build_for_another_device_is_refused(vllm: Double, model: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"computes on cpu here, and gpu\.cuda\.vllm needs cuda: install its build for CUDA"):
        loaded(model, capability="gpu.cuda.vllm")


class Tokenizer:
    """Has a token for each character."""

    eos_token_id = 3

    def __call__(self, text: str, **_more: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(one) for one in text]}

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(map(chr, ids))


@pytest.mark.parametrize(
    ("ends", "stop_reason", "said"), [([7], 7, END_TOKEN), (None, "x", STOP_STRING), (9, None, LENGTH)], ids=["token", "string", "length"]
)
def test_a_text_ends_where_the_models_files_or_the_recipe_say(vllm: Double, model: Path, ends: Any, stop_reason: Any, said: str) -> None:
    vllm.tokenizer, vllm.stop_reason, seen = Tokenizer(), stop_reason, []
    if ends is not None:
        (model.parent / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    generator = loaded(model, Settings(temperature=0.5, seed=4))
    generator.prepare([[[1]], [generator.encode("ab")]])
    written = generator.write(1, Ending(3, ("x",)), lambda: seen.append(1))
    assert (list(written.ids), written.finish_reason, len(seen)) == ([7, 7, 7], said, 3)
    asked = vllm.asked[0]
    assert (asked.max_tokens, asked.min_tokens, asked.stop, asked.seed) == (3, 0, ["x"], 5)
    assert asked.stop_token_ids == ([3] if ends is None else ends if isinstance(ends, list) else [ends])
    assert generator.decode([97, 98]) == "ab"


def test_a_snapshot_without_a_tokenizer_reads_no_text(vllm: Double, model: Path) -> None:
    (model.parent / "tokenizer.json").unlink()
    generator = loaded(model)
    assert arguments(generator).skip_tokenizer_init
    with pytest.raises(ModelInvalid, match="has no tokenizer, so it cannot read text"):
        generator.encode("a")


def test_facts_say_what_was_measured(vllm: Double, model: Path) -> None:
    generator = loaded(model)
    generator.generate(0, 3)
    vllm.counter.num_backend_compilations = 2
    facts = generator.facts()
    assert {name: facts.runtime[name] for name in ("runtime", "prefix_caching", "dtype", "cache_tokens", "longest", "parameters")} == {
        "runtime": "vllm",
        "prefix_caching": False,
        "dtype": "bfloat16",
        "cache_tokens": 16_000,
        "longest": 512,
        "parameters": 16_896,
    }
    assert facts.runtime["own_times_ms"] == {"queued_to_scheduled": 500, "scheduled_to_first_token": 500, "first_to_last_token": 2_000}
    assert facts.runtime["warnings"] == [SAID_RANDOM]
    assert generator.compiled().times == 2
    reads = generator.reads()
    assert reads.weights_bytes == 2 * (64 * 64 + 100 * 64), "the table of embeddings is not read as a whole"
    assert reads.kv_bytes_per_token == 2 * 2 * 4 * 16 * 2
    generator.unload()
    assert vllm.log[-1] == "shutdown"


def test_memory_of_a_gpu_is_known_only_if_this_process_holds_it(model: Path) -> None:
    with installed("cuda") as vllm:
        alone = loaded(model, capability="gpu.cuda.vllm")
        alone.start_phase()
        assert (vllm.log[-1], alone.peak_gpu_mb()) == ("new peak", 64)
        assert "peak_gpu_missing" not in alone.facts().runtime
        several = loaded(model, Settings(tensor_parallel_size=2), "gpu.cuda.vllm")
        assert several.peak_gpu_mb() is None
        assert "a process of its own" in several.facts().runtime["peak_gpu_missing"]
        assert several.reads().unknown == "several devices share the weights"


ANSWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"error": "vLLM does not import: x"}, "cpu.vllm", "vLLM does not import: x"),
    ({"error": "", "versions": {"vllm": "1"}, "device": "cpu", "why_not": ""}, "cpu.vllm", ""),
    (
        {"error": "", "versions": {"vllm": "1"}, "device": "cuda", "why_not": "torch finds no CUDA device"},
        "gpu.cuda.vllm",
        "torch finds no CUDA device",
    ),
    (
        {"error": "", "versions": {"vllm": "1"}, "device": "", "why_not": ""},
        "gpu.cuda.vllm",
        "vLLM 1 computes on no device here, and gpu.cuda.vllm needs",
    ),
]


@pytest.mark.parametrize(("answer", "capability", "said"), ANSWERS)
def test_a_worker_offers_it_where_its_build_fits_the_device_and_the_device_answers(answer: Any, capability: str, said: str) -> None:
    found = said_of(answer, capability)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("capability", "options", "attention", "said"),
    [
        (
            "cpu.vllm",
            {"inter_threads": 2},
            None,
            r"options\.inter_threads is 2, .* on cpu\.vllm have no such option: leave it out, or measure",
        ),
        ("cpu.vllm", {}, "eager", r"decoding\.attention is 'eager', .* or measure on cpu\.torch"),
        (
            "cpu.torch",
            {"tensor_parallel_size": 2},
            None,
            r"options\.tensor_parallel_size is 2, .* or measure on cpu\.vllm or gpu\.cuda\.vllm",
        ),
    ],
)
def test_what_a_generator_would_ignore_is_refused(capability: str, options: dict[str, Any], attention: Any, said: str) -> None:
    with pytest.raises(EngineUnavailable, match=said):
        check_settings(capability, {"options": options, "decoding": {"attention": attention}})


def test_vllm_is_spawned_and_told_to_stay_in_its_process() -> None:
    for name in ("cpu.vllm", "gpu.cuda.vllm"):
        assert not GENERATORS[name].forks
        assert GENERATORS[name].environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
