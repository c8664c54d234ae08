"""Generates with vLLM: a Hugging Face snapshot on the CPU or on CUDA GPUs, with the engine in the measured process.

The loop that steps the engine is ours, so a token is stamped in the moment in which vLLM hands it to its caller. Prefix caching is off.
Weights are read from `.safetensors` only, no code of a snapshot is run, and nothing is fetched from a hub. torch and vLLM are imported by
`load`, because how long that takes is a part of the cold start. See docs/decisions/0043-vllm-in-process.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from worker.engines.base import Facts
from worker.engines.torch_devices import MB
from worker.generators.base import COMPILE, IMPORT, TOKENIZER, WEIGHTS, Batch, Clock, Compiled, Ending, Reads, Settings, Written
from worker.generators.reads import reads_of
from worker.generators.registry import GENERATORS
from worker.generators.snapshot import OFFLINE, folder_of, has_tokenizer, warnings_of
from worker.generators.transformers_texts import encode, format_of
from worker.generators.vllm_errors import MEANT, explain, no_room_for
from worker.generators.vllm_facts import LIBRARIES, of_config, own_times
from worker.generators.vllm_presence import DEVICES, wrong_build
from worker.generators.vllm_texts import end_tokens, finish_reason
from worker.generators.weights import Weights, weights_of

EAGER = {None: None, "none": True, "default": False}  # whether vLLM runs the model as it is, by `options.compile`; None: as vLLM decides
STAGES = "tokenizer: with the configuration; weights: with the device; compile: with profiling and the room for keys and values"
CHILDREN = "each device of the tensor parallel group has a process of its own, and only the whole memory of the GPUs is sampled"


class VllmGenerator:
    """Implements the capabilities `cpu.vllm` and `gpu.cuda.vllm`."""

    def __init__(self) -> None:
        self._vllm: Any = None
        self._torch: Any = None
        self._engine: Any = None
        self._settings = Settings()
        self._folder = Path()
        self._device = ""
        self._kinds: Any = None
        self._ends: list[int] = []
        self._batches: list[list[Any]] = []
        self._sampling: dict[tuple[int, bool], Any] = {}
        self._numbers = count()
        self._stats: Any = None  # vLLM's own times of the last streamed request

    def load(self, model: Path, settings: Settings, capability: str, clock: Clock) -> Mapping[str, int | None]:
        if settings.compile not in EAGER:
            raise EngineUnavailable(
                f"options.compile is {settings.compile!r}, and vLLM has no such mode: give none (the model as it is) or default, or leave "
                "it out"
            )
        self._folder, self._settings = folder_of(model), settings
        started = clock()
        os.environ.update(OFFLINE | dict(GENERATORS[capability].environment))  # noqa: TID251 - no settings of ours
        self._torch, self._vllm = torch, vllm = import_module("torch"), import_module("vllm")
        make, executors = vllm.LLMEngine, import_module("vllm.v1.executor.abstract").Executor  # vLLM imports a class when it is asked for
        self._device = str(import_module("vllm.platforms").current_platform.device_type)
        imported = clock()
        if self._device != DEVICES[capability]:
            raise EngineUnavailable(wrong_build(vllm.__version__, self._device, capability))
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        try:
            before = clock()
            config = vllm.EngineArgs(**self._arguments()).create_engine_config()
            executor = _timed(executors.get_class(config), clock)
            self._engine = make(vllm_config=config, executor_class=executor, log_stats=True, multiprocess_mode=False)
            ready = clock()
        except JobError:
            raise
        except Exception as error:  # the libraries raise dozens of unrelated exception types
            raise explain(error, self._folder.name, vllm.__version__, self._device) from error
        self._kinds = import_module("vllm.sampling_params").RequestOutputKind
        self._ends = end_tokens(self._folder, self._tokenizer())
        begin, end = executor.times
        return {IMPORT: imported - started, TOKENIZER: begin - before, WEIGHTS: end - begin, COMPILE: ready - end}

    def _arguments(self) -> dict[str, Any]:
        """Return vLLM's own arguments. What the recipe does not set keeps vLLM's default."""
        settings = self._settings
        asked = {
            "dtype": settings.dtype,
            "enforce_eager": EAGER[settings.compile],
            "tensor_parallel_size": settings.tensor_parallel_size,
            "max_model_len": settings.max_model_len,
            "gpu_memory_utilization": settings.gpu_memory_utilization,
        }
        return {
            "model": str(self._folder),
            "tokenizer": str(self._folder),
            "skip_tokenizer_init": not has_tokenizer(self._folder),
            "load_format": "safetensors",
            "trust_remote_code": False,
            "enable_prefix_caching": False,
            "disable_log_stats": False,
            "max_num_seqs": max(settings.batch_size, 1),  # all sequences of a call run together
            "generation_config": "vllm",  # otherwise the snapshot's own file decides what the recipe leaves out
            "seed": settings.seed,
            **{name: value for name, value in asked.items() if value is not None},
        }

    @property
    def _config(self) -> Any:
        return self._engine.vllm_config

    def vocabulary(self) -> int:
        return int(self._config.model_config.get_vocab_size())

    def longest(self) -> int | None:
        return int(self._config.model_config.max_model_len)

    def prepare(self, batches: Sequence[Batch]) -> None:
        render, prompt = self._engine.renderer.render_cmpl, import_module("vllm.inputs").TokensPrompt
        self._batches = [render([prompt(prompt_token_ids=list(one)) for one in batch]) for batch in batches]

    def generate(self, batch: int, new_tokens: int, visible: Callable[[], None] | None = None) -> Sequence[int]:
        prompts, engine = self._batches[batch], self._engine
        sampling = self._sampling.get((new_tokens, visible is not None)) or self._make_sampling(batch, new_tokens, visible is not None)
        written: dict[str, int] = {}
        for prompt in prompts:
            written[name := str(next(self._numbers))] = 0
            engine.add_request(name, prompt, sampling)
        seen, step, unfinished = 0, engine.step, engine.has_unfinished_requests
        while unfinished():
            for output in step():
                written[output.request_id] += len(output.outputs[0].token_ids)
                if output.finished:
                    self._check(output)
            if visible is not None:
                for _ in range(seen, shown := min(written.values())):
                    visible()
                seen = shown
        return list(written.values())

    def _check(self, output: Any) -> None:
        """Check that no part of a prompt was in a cache, and keep vLLM's own times."""
        if output.num_cached_tokens:
            raise ModelInvalid(f"vLLM took {output.num_cached_tokens} tokens of a prompt from a cache although prefix caching is off")
        self._stats = output.metrics

    def _make_sampling(self, batch: int, new_tokens: int, streamed: bool) -> Any:
        """Return how a call generates: exactly this many tokens, of which `step` returns each one, or all of them at the end.

        Raises:
            ModelInvalid: The keys and values of the whole batch do not fit into the cache, so its sequences would wait for each other.
        """
        prompts, config = self._batches[batch], self._config.cache_config
        blocks = -(-(len(prompts[0]["prompt_token_ids"]) + new_tokens) // config.block_size)
        if config.num_gpu_blocks is not None and blocks * len(prompts) > config.num_gpu_blocks:
            raise no_room_for(self._folder.name, len(prompts), blocks * config.block_size, config.num_gpu_blocks * config.block_size)
        self._sampling[new_tokens, streamed] = made = self._vllm.SamplingParams(
            ignore_eos=True,
            min_tokens=new_tokens,
            max_tokens=new_tokens,
            detokenize=False,
            output_kind=self._kinds.DELTA if streamed else self._kinds.FINAL_ONLY,
            **self._drawn(),
        )
        return made

    def _drawn(self) -> dict[str, Any]:
        """Return how the next token is chosen."""
        settings = self._settings
        drawn = {"top_k": settings.top_k or 0, "top_p": settings.top_p or 1.0} if settings.temperature > 0 else {}
        return {"temperature": settings.temperature, **drawn}

    def encode(self, text: str) -> Sequence[int]:
        return encode(self._tokenizer(), text, self._folder.name)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer().decode(list(ids), skip_special_tokens=True))

    def write(self, batch: int, ending: Ending, visible: Callable[[], None] | None = None) -> Written:
        (prompt,), engine, settings = self._batches[batch], self._engine, self._settings
        sampling = self._vllm.SamplingParams(
            ignore_eos=True,  # the tokens that end a text are those that the model's own files say
            stop_token_ids=self._ends,
            stop=list(ending.strings) or None,
            max_tokens=ending.max_tokens,
            detokenize=bool(ending.strings),
            output_kind=self._kinds.FINAL_ONLY if visible is None else self._kinds.DELTA,
            **self._drawn(),
            **({"seed": settings.seed + batch} if settings.temperature > 0 else {}),
        )
        engine.add_request(str(next(self._numbers)), prompt, sampling)
        ids: list[int] = []
        reason: object = None
        while engine.has_unfinished_requests():
            for output in engine.step():
                new = output.outputs[0].token_ids
                ids.extend(new)
                if visible is not None:
                    for _ in new:
                        visible()
                if output.finished:
                    self._check(output)
                    reason = output.outputs[0].stop_reason
        return Written(ids, finish_reason(ids, self._ends, reason))

    def _tokenizer(self) -> Any:
        """Return the tokenizer, or None if the snapshot has none."""
        return self._engine.renderer.tokenizer

    def compiled(self) -> Compiled:
        counters = import_module("vllm.compilation.counter").compilation_counter
        graphs = self._torch._dynamo.utils.counters["stats"]["unique_graphs"]
        return Compiled(int(graphs + counters.num_backend_compilations + counters.num_cudagraph_captured))

    def reads(self) -> Reads:
        config, cache = self._config.model_config, self._config.cache_config
        if self._config.parallel_config.world_size > 1:
            return Reads(unknown="several devices share the weights")
        weights = self._weights()
        element = 1 if "fp8" in str(cache.cache_dtype) else config.dtype.itemsize
        return reads_of(config.hf_text_config.to_dict(), weights.bytes, weights.table_bytes, element)

    def _weights(self) -> Weights:
        """Return the weights as the files have them: on a CPU, vLLM packs them anew, and its model then shows a part of them only."""
        return weights_of(self._folder, self._config.model_config.dtype.itemsize)

    def start_phase(self) -> None:
        if self._has_own_gpu():
            self._torch.cuda.reset_peak_memory_stats()

    def peak_gpu_mb(self) -> float | None:
        return float(self._torch.cuda.max_memory_allocated()) / MB if self._has_own_gpu() else None

    def _has_own_gpu(self) -> bool:
        return self._device == DEVICES["gpu.cuda.vllm"] and self._config.parallel_config.world_size == 1

    def facts(self) -> Facts:
        torch, weights = self._torch, self._weights()
        runtime = of_config(self._config) | {
            "runtime": "vllm",
            "version": self._vllm.__version__,
            "provider": self._device,
            "device": self._device,
            "parameters": weights.count,
            "weights_mb": weights.bytes / MB,
            "tokenizer": type(self._tokenizer()).__name__ if self._tokenizer() is not None else None,
            "prompt_format": format_of(self._tokenizer()),
            "end_tokens": self._ends,
            "longest": self.longest(),
            "vocabulary": self.vocabulary(),
            "threads": {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()},
            "stages": STAGES,
        }
        if self._stats is not None:
            runtime["own_times_ms"] = own_times(self._stats)
        if self._device == DEVICES["gpu.cuda.vllm"]:
            runtime |= {"device_name": torch.cuda.get_device_name(), "cuda": torch.version.cuda or torch.version.hip}
            if not self._has_own_gpu():
                runtime["peak_gpu_missing"] = CHILDREN
        if warnings := warnings_of(self._folder):
            runtime["warnings"] = warnings
        return Facts(runtime, {name: str(import_module(name).__version__) for name in LIBRARIES})

    def explain(self, error: Exception) -> JobError | None:
        if isinstance(error, JobError):
            return error
        if isinstance(error, MEANT) or type(error).__module__.startswith(("torch", "vllm", "transformers")):
            return explain(error, self._folder.name, self._vllm.__version__, self._device)
        return None

    def unload(self) -> None:
        engine, self._engine, self._batches = self._engine, None, []
        if engine is not None:
            engine.engine_core.shutdown()


def _timed(executor: Any, clock: Clock) -> Any:
    """Return vLLM's class that opens the device and reads the weights. It keeps when that began and ended in `times`."""

    class Timed(executor):  # type: ignore[misc]  # known when vLLM is imported
        times = (0, 0)

        def _init_executor(self) -> None:
            begin = clock()
            super()._init_executor()
            Timed.times = (begin, clock())

    return Timed
