"""Tests language models with the real transformers: the truth comes from calls that these tests make by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from tests.streamer_times import streamer_times
from worker.engines.torch_devices import Mps
from worker.generators import transformers as transformers_generator
from worker.generators.base import Settings
from worker.generators.registry import resolve
from worker.generators.snapshot import SAID_RANDOM
from worker.kinds.generation import GenerationMeasure
from worker.measured.request import RunRequest

PROMPT = [[5, 6, 7, 8, 9, 10]]
DECODING = {"temperature": 0.0, "top_k": None, "top_p": None, "attention": None}


def loaded(folder: Path, settings: Settings = Settings(), prompts: Any = (PROMPT,)) -> Any:  # noqa: B008 - it is frozen
    generator = resolve("cpu.torch")()
    generator.load(folder / "config.json", settings, "cpu.torch", perf_counter_ns)
    generator.prepare(prompts)
    return generator


def copied(tiny: Path, folder: Path, **config: Any) -> Path:
    """Return a copy of the snapshot with other values in its config.json. A value of None removes the key."""
    shutil.copytree(tiny, folder)
    content = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


class Recorded:
    """Stands between a generator and its model, and keeps what the model answered."""

    def __init__(self, generator: Any) -> None:
        self.answers: list[Any] = []
        inner = generator._model.generate

        def generate(*arguments: Any, **more: Any) -> Any:
            self.answers.append(inner(*arguments, **more))
            return self.answers[-1]

        generator._model.generate = generate


def by_hand(folder: Path, tokens: int) -> list[int]:
    """Return the likeliest tokens after the prompt, one whole forward pass for each: without a cache, and without `generate`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor(PROMPT)
    with torch.no_grad():
        for _ in range(tokens):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return [int(one) for one in ids[0, len(PROMPT[0]) :]]


def test_it_writes_what_the_model_finds_likeliest_in_both_passes_and_in_each_call_anew(tiny: Path) -> None:
    generator = loaded(tiny)
    recorded = Recorded(generator)
    for visible in (None, lambda: None, None):
        generator.generate(0, 7, visible)
    written = [answer[0, 6:].tolist() for answer in recorded.answers]
    assert written == [by_hand(tiny, 7)] * 3


def test_a_model_that_would_end_at_once_writes_as_many_tokens_as_it_was_asked_for(tiny: Path, tmp_path: Path) -> None:
    likeliest = by_hand(tiny, 1)[0]
    folder = copied(tiny, tmp_path / "ends", eos_token_id=likeliest)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": likeliest, "max_length": 8}))
    generator = loaded(folder)
    recorded = Recorded(generator)
    assert list(generator.generate(0, 5)) == [5]
    assert recorded.answers[0][0, 6].item() == likeliest, "the token that would end the text is not forbidden, it only ends nothing"


def test_stamps_are_those_of_a_streamer_that_keeps_its_own_times(tiny: Path) -> None:
    ours: list[int] = []
    generator = loaded(tiny)
    with streamer_times(generator) as theirs:
        generator.generate(0, 12)  # the first call is slower, and has no streamer
        generator.generate(0, 12, lambda: ours.append(perf_counter_ns()))
    assert len(theirs) == 13, "the prompt first"
    differences = sorted(our - their for our, their in zip(ours, theirs[1:], strict=True))
    assert differences[0] >= 0
    assert differences[len(differences) // 2] < 200_000


def test_drawing_depends_on_the_seed_alone(tiny: Path) -> None:
    def drawn(seed: int) -> list[int]:
        generator = loaded(tiny, Settings(temperature=5.0, top_k=100, top_p=0.99, seed=seed))
        recorded = Recorded(generator)
        generator.generate(0, 10)
        answer: list[int] = recorded.answers[0][0, 6:].tolist()
        return answer

    first = drawn(1)
    assert drawn(1) == first
    assert drawn(2) != first
    assert first != by_hand(tiny, 10)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_dtype_attention_and_threads_are_what_was_asked_for(tiny: Path, attention: str) -> None:
    before = torch.get_num_threads()
    try:
        runtime = loaded(tiny, Settings(dtype="bfloat16", attention=attention, threads=1)).facts().runtime
    finally:
        torch.set_num_threads(before)
    assert (runtime["dtype"], runtime["attention"], runtime["threads"]["intra_op"]) == ("bfloat16", attention, 1)


def test_a_result_says_that_the_weights_are_random_and_only_then(tiny: Path, tmp_path: Path) -> None:
    assert loaded(tiny).facts().runtime["warnings"] == [SAID_RANDOM]
    trained = loaded(copied(tiny, tmp_path / "trained", random_weights=None)).facts()
    assert "warnings" not in trained.runtime
    assert trained.software["transformers"] == transformers.__version__
    assert trained.runtime["parameters"] == sum(one.numel() for one in loaded(tiny)._model.parameters())


def test_a_snapshot_without_a_tokenizer_is_measured_and_says_so(tiny: Path, tmp_path: Path) -> None:
    folder = copied(tiny, tmp_path / "bare")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    stages = resolve("cpu.torch")().load(folder / "config.json", Settings(), "cpu.torch", perf_counter_ns)
    assert stages["tokenizer"] is None
    assert stages["weights"]


def _pickled(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


def _bad_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_pickled, "can run code"),
        (_damaged, "cannot load broken|damaged"),
        (_bad_tokenizer, "the tokenizer of broken"),
        (_own_code, "mine|custom code"),
    ],
)
def test_a_broken_snapshot_is_refused_with_its_name(tiny: Path, tmp_path: Path, spoil: Any, said: str) -> None:
    folder = copied(tiny, tmp_path / "broken")
    spoil(folder)
    with pytest.raises(JobError, match=said) as refusal:
        loaded(folder)
    assert "broken" in refusal.value.detail
    assert not (folder / "ran").exists(), "no code of a snapshot runs"


def test_another_file_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(ModelInvalid, match=r"model\.onnx is no config\.json of a Hugging Face snapshot"):
        resolve("cpu.torch")().load(tmp_path / "model.onnx", Settings(), "cpu.torch", perf_counter_ns)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # the compiler uses it
def test_compiling_writes_the_same_and_a_longer_call_is_seen_to_compile_again(tiny: Path) -> None:
    generator = loaded(tiny, Settings(compile="default", threads=1))
    recorded = Recorded(generator)
    assert generator.compiled().times == 0
    for _ in range(2):
        generator.generate(0, 5)
    first = generator.compiled()
    assert first.times > 0
    assert first.ns > 0
    generator.generate(0, 5)
    assert generator.compiled().times == first.times, "a call of a known length compiles nothing"
    generator.generate(0, 9)
    assert generator.compiled().times > first.times, "its cache has another length"
    assert [answer[0, 6:].tolist() for answer in recorded.answers[:3]] == [by_hand(tiny, 5)] * 3
    assert generator.facts().runtime["graph_level"] == "default"


def test_an_option_that_compiles_nothing_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = loaded(tiny, Settings(compile="default"))
    monkeypatch.setattr(generator, "_compiling", lambda: {"disable_compile": True})
    with pytest.raises(EngineUnavailable, match=r"torch\.compile left .* as it was, so options\.compile default would"):
        generator.generate(0, 3)


class OnThisCpu(Mps):
    """Is the device of a Mac, whose calls go to a double, and whose tensors stay on this processor."""

    name = "cpu"


def test_the_gpu_of_a_mac_is_waited_for_after_each_call(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    of_mac = SimpleNamespace(
        synchronize=lambda: log.append("waited"), driver_allocated_memory=lambda: 2**20, recommended_max_memory=lambda: 2**30
    )
    double = SimpleNamespace(backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: True)), mps=of_mac)
    asked: list[str] = []

    def opened(_torch: Any, capability: str) -> Any:
        asked.append(capability)
        return OnThisCpu(double)

    monkeypatch.setattr(transformers_generator, "open_device", opened)
    generator = resolve("gpu.mps.torch")()
    generator.load(tiny / "config.json", Settings(), "gpu.mps.torch", perf_counter_ns)
    assert (asked, log) == (["gpu.mps.torch"], ["waited"]), "the weights are there before the clock is read"
    generator.prepare([PROMPT])
    log.clear()
    assert list(generator.generate(0, 3, lambda: log.append("visible"))) == [3]
    assert log == ["visible"] * 3 + ["waited"]
    assert generator.peak_gpu_mb() is None
    assert "torch keeps no peak" in generator.facts().runtime["peak_gpu_missing"]


def test_a_batch_that_does_not_fit_says_what_would(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [[5] * 10] * 64
    generator = loaded(tiny, prompts=(prompts,))

    def full(*_arguments: Any, **_more: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(generator._model, "generate", full)
    weights = sum(one.numel() * one.element_size() for one in generator._model.parameters())
    sequence = generator.reads().kv_bytes_per_token * (10 + 6)
    monkeypatch.setattr(generator._device, "room_bytes", lambda: weights + 20 * sequence)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        generator.generate(0, 6)
    generator._config(6)
    error = generator.explain(raised.value)
    assert error is not None
    assert "64 sequences of 16 tokens" in error.detail
    assert "at most 20 such sequences fit beside the weights: take options.batch_size 20 or smaller" in error.detail


def test_what_a_step_reads_is_what_the_model_holds(tiny: Path) -> None:
    generator = loaded(tiny)
    model, reads = generator._model, generator.reads()
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    assert reads.weights_bytes == 4 * (sum(one.numel() for one in model.parameters()) - model.model.embed_tokens.weight.numel())
    cache = model(torch.tensor(PROMPT), use_cache=True).past_key_values
    held = sum(one.numel() * one.element_size() for layer in cache.layers for one in (layer.keys, layer.values))
    assert reads.kv_bytes_per_token == held // len(PROMPT[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_gpu_that_is_not_there_is_a_reason(tiny: Path) -> None:
    with pytest.raises(EngineUnavailable, match="finds no CUDA device here"):
        resolve("gpu.cuda.torch")().load(tiny / "config.json", Settings(), "gpu.cuda.torch", perf_counter_ns)


def test_a_whole_run_records_every_pass(tiny: Path) -> None:
    spec = {
        "prompts": {"input_tokens": 16, "output_tokens": 4, "requests": 3},
        "decoding": DECODING,
        "options": {"batch_size": 2, "seed": 1},
    }
    request = RunRequest("generation", "cpu.torch", spec, "", {"model": str(tiny / "config.json")}, warmup_max_s=1)
    record = GenerationMeasure().run(request, lambda _phase: None)
    assert [len(record.series[name].values) for name in ("streamed", "tokens", "plain", "prefill", "warmup")] == [3, 12, 3, 3, 3]
    tokens = record.series["tokens"].values
    assert all(
        before < after for call in range(3) for before, after in zip(tokens[4 * call : 4 * call + 3], tokens[4 * call + 1 :], strict=False)
    )
    assert all(tokens[4 * call + 3] <= record.series["streamed"].values[call] for call in range(3))
