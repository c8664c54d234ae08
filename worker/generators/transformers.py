"""Generates with transformers on PyTorch: a Hugging Face snapshot on the CPU, on a CUDA GPU, and on the GPU of a Mac.

Weights are read from `.safetensors` only, no code of a snapshot is run, and nothing is fetched from a hub. torch and transformers are
imported by `load`, because how long that takes is a part of the cold start. With `options.compile`, transformers compiles the step that
writes one token, and its first calls, which are warm-ups, take the time for it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.errors import EngineUnavailable, JobError, ModelInvalid
from shared.snapshots import WEIGHTS as WEIGHTS_SUFFIX
from worker.engines.base import Facts
from worker.engines.torch_devices import MB, Cpu, Device, open_device
from worker.engines.torch_errors import explain_call, explain_load, is_out_of_memory
from worker.generators.base import COMPILE, IMPORT, TOKENIZER, WEIGHTS, Batch, Clock, Compiled, Ending, Reads, Settings, Written
from worker.generators.reads import reads_of
from worker.generators.room import Need, no_room
from worker.generators.snapshot import OFFLINE, folder_of, has_tokenizer, warnings_of
from worker.generators.transformers_compiling import UNCOMPILED, compiling, counted_so_far
from worker.generators.transformers_texts import StopStrings, encode, end_tokens, finish_reason, format_of

_MEANT = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, MemoryError, OSError, KeyError, AttributeError)


class TransformersGenerator:
    """Implements the capabilities `cpu.torch`, `gpu.cuda.torch` and `gpu.mps.torch` for language models."""

    def __init__(self) -> None:
        self._torch: Any = None
        self._transformers: Any = None
        self._tokenizers: Any = None
        self._model: Any = None
        self._settings = Settings()
        self._device: Device = Cpu()
        self._folder = Path()
        self._inputs: list[Any] = []
        self._masks: list[Any] = []
        self._configs: dict[int, Any] = {}
        self._watched: Callable[[Callable[[], None]], object] | None = None
        self._tokenizer: Any = None
        self._ends: list[int] = []
        self._load_peak_mb: float | None = None
        self._must_compile = False
        self._before = Compiled()  # what this process had compiled before the model was loaded

    def load(self, model: Path, settings: Settings, capability: str, clock: Clock) -> Mapping[str, int | None]:
        self._folder, self._settings = folder_of(model), settings
        self._must_compile = settings.compile not in UNCOMPILED
        started = clock()
        os.environ.update(OFFLINE)  # noqa: TID251 - no settings of ours
        self._torch, self._transformers = torch, transformers = import_module("torch"), import_module("transformers")
        # transformers imports what is behind a name when it is first asked for.
        causal, _ = transformers.AutoModelForCausalLM, transformers.PreTrainedTokenizerFast
        self._tokenizers = transformers.AutoTokenizer
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        imported = clock()
        self._device = open_device(torch, capability)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        if settings.inter_threads is not None and settings.inter_threads != torch.get_num_interop_threads():
            torch.set_num_interop_threads(settings.inter_threads)  # torch allows this once in a process, before its first work
        torch.set_grad_enabled(False)
        before = clock()
        is_there = self._read_tokenizer()
        tokenized = clock()
        self._device.start_phase()
        try:
            self._model = causal.from_pretrained(
                str(self._folder),
                dtype=getattr(torch, settings.dtype) if settings.dtype else "auto",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **({"attn_implementation": settings.attention} if settings.attention else {}),
            ).eval()
            self._model.to(self._device.name)
            self._device.wait()
        except JobError:
            raise
        except Exception as error:  # the two libraries raise dozens of unrelated exception types
            if is_out_of_memory(error):
                weights = sum(file.stat().st_size for file in self._folder.glob(f"*{WEIGHTS_SUFFIX}"))
                raise no_room(self._folder.name, self._device.name, Need(weights, room_bytes=self._device.room_bytes()), error) from error
            raise explain_load(error, self._folder.name, self._versions(), self._device.name) from error
        loaded = clock()
        self._load_peak_mb = self._device.peak_mb()
        self._ends = end_tokens(self._model, self._tokenizer)
        # Otherwise generate takes from here what a call leaves open, such as the token that ends a text.
        self._model.generation_config = transformers.GenerationConfig()
        self._watched = _streamer_class(transformers)
        if self._must_compile:
            self._before = counted_so_far()
        of_tokenizer = tokenized - before if is_there else None
        return {IMPORT: imported - started, TOKENIZER: of_tokenizer, WEIGHTS: loaded - tokenized, COMPILE: None}

    def _read_tokenizer(self) -> bool:
        """Read the tokenizer, as a program that takes text would. Return False if the snapshot has none: prompts of token ids need none."""
        if not has_tokenizer(self._folder):
            return False
        try:
            self._tokenizer = self._tokenizers.from_pretrained(str(self._folder), trust_remote_code=False, local_files_only=True)
        except Exception as error:  # the libraries raise dozens of unrelated exception types
            raise ModelInvalid(f"the tokenizer of {self._folder.name} cannot be read: {' '.join(str(error).split())[:400]}") from error
        return True

    def vocabulary(self) -> int:
        return int(self._text_config().vocab_size)

    def longest(self) -> int | None:
        longest = getattr(self._text_config(), "max_position_embeddings", None)
        return longest if isinstance(longest, int) else None

    def _text_config(self) -> Any:
        return self._model.config.get_text_config()

    def prepare(self, batches: Sequence[Batch]) -> None:
        torch = self._torch
        self._inputs = [torch.tensor(batch, dtype=torch.long, device=self._device.name) for batch in batches]
        self._masks = [torch.ones_like(one) for one in self._inputs]
        self._device.wait()
        torch.manual_seed(self._settings.seed)

    def generate(self, batch: int, new_tokens: int, visible: Callable[[], None] | None = None) -> Sequence[int]:
        inputs = self._inputs[batch]
        streamer = self._watched(visible) if visible is not None and self._watched is not None else None
        answer = self._model.generate(
            inputs, attention_mask=self._masks[batch], generation_config=self._config(new_tokens), streamer=streamer
        )
        self._device.wait()
        if self._must_compile and new_tokens > 1:
            self._check_compiled()
        return [int(answer.shape[1] - inputs.shape[1])] * int(answer.shape[0])

    def _check_compiled(self) -> None:
        """Check after the first call that torch.compile has compiled anything.

        Raises:
            EngineUnavailable: It has not, so that the same would be measured without it.
        """
        if not self.compiled().times:
            raise EngineUnavailable(
                f"torch.compile left {self._folder.name} as it was, so options.compile {self._settings.compile} would measure nothing "
                "else: leave it out"
            )
        self._must_compile = False

    def encode(self, text: str) -> Sequence[int]:
        return encode(self._tokenizer, text, self._folder.name)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def write(self, batch: int, ending: Ending, visible: Callable[[], None] | None = None) -> Written:
        inputs = self._inputs[batch]
        prompt_tokens = int(inputs.shape[1])
        streamer = self._watched(visible) if visible is not None and self._watched is not None else None
        stop = StopStrings(self._torch, self._tokenizer, ending.strings, prompt_tokens) if ending.strings else None
        if self._settings.temperature > 0:
            self._torch.manual_seed(self._settings.seed + batch)
        answer = self._model.generate(
            inputs,
            attention_mask=self._masks[batch],
            generation_config=self._config(ending.max_tokens, exactly=False),
            streamer=streamer,
            **({"stopping_criteria": self._transformers.StoppingCriteriaList([stop])} if stop is not None else {}),
        )
        ids = answer[0, prompt_tokens:].tolist()  # waits for the device
        return Written(ids, finish_reason(ids, self._ends, stop))

    def _config(self, new_tokens: int, *, exactly: bool = True) -> Any:
        """Return how a call generates, with a new cache: this many tokens with none that ends a text, or up to this many."""
        key = new_tokens if exactly else -new_tokens
        if key not in self._configs:
            settings = self._settings
            drawn = {"do_sample": True, "temperature": settings.temperature, "top_k": settings.top_k or 0, "top_p": settings.top_p or 1.0}
            self._configs[key] = self._transformers.GenerationConfig(
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens if exactly else None,
                eos_token_id=None if exactly else self._ends or None,
                pad_token_id=0,
                num_beams=1,
                use_cache=True,
                **self._compiling(),
                **(drawn if settings.temperature > 0 else {"do_sample": False}),
            )
        return self._configs[key]

    def _compiling(self) -> dict[str, Any]:
        return compiling(self._transformers, self._settings.compile)

    def compiled(self) -> Compiled:
        if self._settings.compile in UNCOMPILED:
            return Compiled()
        counted = counted_so_far()
        return Compiled(counted.times - self._before.times, counted.ns - self._before.ns)

    def reads(self) -> Reads:
        table, head = self._model.get_input_embeddings().weight, self._model.get_output_embeddings()
        tied = head is not None and head.weight is table
        config = self._text_config()
        embedding = 0 if tied else _bytes([table])
        return reads_of(config.to_dict(), _bytes(self._model.parameters()), embedding, table.element_size())

    def start_phase(self) -> None:
        self._device.start_phase()

    def peak_gpu_mb(self) -> float | None:
        return self._device.peak_mb()

    def facts(self) -> Facts:
        torch, model = self._torch, self._model
        config = model.config
        types = Counter(str(one.dtype).removeprefix("torch.") for one in model.parameters())
        runtime: dict[str, Any] = {
            "runtime": "transformers",
            "version": self._transformers.__version__,
            "provider": self._device.name,
            "architecture": type(model).__name__,
            "model_type": config.model_type,
            "parameters": sum(one.numel() for one in model.parameters()),
            "weights_mb": _bytes(model.parameters()) / MB,
            "dtype": self._settings.dtype or (types.most_common(1)[0][0] if types else None),
            "attention": getattr(config, "_attn_implementation", None),
            "cache": "new for each call",
            "graph_level": "eager" if self._settings.compile in UNCOMPILED else self._settings.compile,
            "tokenizer": type(self._tokenizer).__name__ if self._tokenizer is not None else None,
            "prompt_format": format_of(self._tokenizer),
            "end_tokens": self._ends,
            "longest": self.longest(),
            "vocabulary": self.vocabulary(),
            "threads": {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()},
            "load_peak_gpu_mb": self._load_peak_mb,
            **self._device.facts(),
        }
        if not isinstance(self._device, Cpu) and self._device.peak_mb() is None:
            runtime["peak_gpu_missing"] = f"torch keeps no peak of the memory of {self._device.name}"
        if warnings := warnings_of(self._folder):
            runtime["warnings"] = warnings
        libraries = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
        return Facts(runtime, {name: str(import_module(name).__version__) for name in libraries})

    def explain(self, error: Exception) -> JobError | None:
        if isinstance(error, JobError):
            return error
        if is_out_of_memory(error):
            return no_room(self._folder.name, self._device.name, self._need(), error)
        if isinstance(error, _MEANT) or type(error).__module__.startswith(("torch", "transformers")):
            return explain_call(error, self._folder.name, self._versions(), self._device.name, self._settings.dtype)
        return None

    def _need(self) -> Need:
        """Return what the longest call so far needs, and the room that there is."""
        prompts, new_tokens = self._inputs[0], max(self._configs, default=1)
        return Need(
            weights_bytes=_bytes(self._model.parameters()),
            kv_bytes_per_token=self.reads().kv_bytes_per_token,
            batch=int(prompts.shape[0]),
            tokens=int(prompts.shape[1]) + new_tokens,
            room_bytes=self._device.room_bytes(),
        )

    def unload(self) -> None:
        self._model = None
        self._inputs, self._masks = [], []

    def _versions(self) -> str:
        return f"{self._torch.__version__} with transformers {self._transformers.__version__}"


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


def _streamer_class(transformers: Any) -> Callable[[Callable[[], None]], object]:
    """Return the class of an object that is told of each token when it is on the CPU, and with it visible to the caller."""

    class Visible(transformers.generation.streamers.BaseStreamer):  # type: ignore[misc]  # known when transformers is imported
        def __init__(self, visible: Callable[[], None]) -> None:
            self._visible = visible
            self._is_prompt = True

        def put(self, _ids: object) -> None:
            if self._is_prompt:  # generate shows the prompt first
                self._is_prompt = False
            else:
                self._visible()

        def end(self) -> None:
            pass

    return Visible
