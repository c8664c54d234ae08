"""Provides a double of vLLM, for tests where vLLM is not installed, and for devices that are not there.

It has the calls that the generator makes, and no others; `tests/engines/vllm/test_double.py` compares them with the real library. Its
engine writes one token for each sequence in each step, and `log` says in which order it was called.
"""

from __future__ import annotations

import contextlib
import enum
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

VERSION = "0.32.0+double"
BLOCK = 16  # tokens of a block of the cache


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class DType:
    name: str = "bfloat16"
    itemsize: int = 2

    def __str__(self) -> str:
        return f"torch.{self.name}"


@dataclass
class SamplingParams:
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    ignore_eos: bool = False
    min_tokens: int = 0
    max_tokens: int | None = 16
    detokenize: bool = True
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    seed: int | None = None
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


@dataclass
class EngineArgs:
    model: str
    tokenizer: str | None = None
    skip_tokenizer_init: bool = False
    load_format: str = "auto"
    trust_remote_code: bool = False
    enable_prefix_caching: bool | None = None
    disable_log_stats: bool = False
    max_num_seqs: int | None = None
    generation_config: str = "auto"
    seed: int = 0
    dtype: str = "auto"
    enforce_eager: bool = False
    tensor_parallel_size: int = 1
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.92

    def create_engine_config(self) -> Any:
        of = Double.of
        longest = self.max_model_len or of.longest
        if longest > of.longest:
            raise ValueError(f"User-specified max_model_len ({longest}) is greater than the derived max_model_len ({of.longest})")
        text = SimpleNamespace(to_dict=lambda: {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64})
        hf = SimpleNamespace(model_type="llama")
        return SimpleNamespace(
            arguments=self,
            model_config=SimpleNamespace(
                get_vocab_size=lambda: 100,
                max_model_len=longest,
                architectures=["LlamaForCausalLM"],
                hf_config=hf,
                hf_text_config=text,
                dtype=DType(),
                enforce_eager=self.enforce_eager,
            ),
            cache_config=SimpleNamespace(
                block_size=BLOCK,
                num_gpu_blocks=None,
                cache_dtype="auto",
                enable_prefix_caching=self.enable_prefix_caching,
                gpu_memory_utilization=self.gpu_memory_utilization,
            ),
            parallel_config=SimpleNamespace(
                tensor_parallel_size=self.tensor_parallel_size, world_size=self.tensor_parallel_size, distributed_executor_backend="uni"
            ),
            scheduler_config=SimpleNamespace(max_num_seqs=self.max_num_seqs, max_num_batched_tokens=2_048),
            compilation_config=SimpleNamespace(mode=SimpleNamespace(name="NONE")),
        )


class Executor:
    def __init__(self, vllm_config: Any) -> None:
        self.vllm_config = vllm_config
        self._init_executor()

    def _init_executor(self) -> None:
        Double.of.log.append("weights")
        if error := Double.of.raises:
            raise ValueError(error)

    @staticmethod
    def get_class(vllm_config: Any) -> type[Executor]:
        del vllm_config
        return Executor


@dataclass
class Request:
    name: str
    prompt: Any
    params: SamplingParams
    after: int  # the steps until its first token
    tokens: list[int] = field(default_factory=list)
    shown: int = 0


class LLMEngine:
    def __init__(self, vllm_config: Any, executor_class: type[Executor], log_stats: bool, *, multiprocess_mode: bool = False) -> None:
        assert not multiprocess_mode, "the engine belongs into the measured process"
        self.vllm_config, self.log_stats, self._of = vllm_config, log_stats, Double.of
        self.renderer = SimpleNamespace(
            render_cmpl=lambda prompts: [dict(one, type="token") for one in prompts], tokenizer=self._of.tokenizer
        )
        self.model_executor = executor_class(vllm_config)
        vllm_config.cache_config.num_gpu_blocks = self._of.blocks
        self.engine_core = SimpleNamespace(shutdown=lambda: self._of.log.append("shutdown"))
        self._requests: list[Request] = []

    def add_request(self, request_id: str, prompt: Any, params: SamplingParams) -> str:
        assert all(request_id != one.name for one in self._requests)
        self._of.asked.append(params)
        self._requests.append(Request(request_id, prompt, params, len(self._requests) // self._of.prompts_of_a_step))
        return f"{request_id}-0123abcd"

    def has_unfinished_requests(self) -> bool:
        return bool(self._requests)

    def step(self) -> list[Any]:
        self._of.log.append("step")
        answers = []
        for request in list(self._requests):
            if request.after:
                request.after -= 1
                continue
            for _ in range(self._of.tokens_of_a_step):
                if len(request.tokens) < (request.params.max_tokens or 0) - self._of.loses:
                    request.tokens.append(7)
            finished = len(request.tokens) >= (request.params.max_tokens or 0) - self._of.loses
            if finished:
                self._requests.remove(request)
            if finished or request.params.output_kind is not RequestOutputKind.FINAL_ONLY:
                answers.append(self._answer(request, finished=finished))
        return answers

    def _answer(self, request: Request, *, finished: bool) -> Any:
        new = request.tokens[request.shown :] if request.params.output_kind is RequestOutputKind.DELTA else request.tokens
        request.shown = len(request.tokens)
        times = SimpleNamespace(arrival_time=1e9, queued_ts=1.0, scheduled_ts=1.5, first_token_ts=2.0, last_token_ts=4.0)
        return SimpleNamespace(
            request_id=request.name,
            outputs=[SimpleNamespace(token_ids=list(new), stop_reason=self._of.stop_reason)],
            finished=finished,
            num_cached_tokens=self._of.cached,
            metrics=times if self.log_stats else None,
        )


class Double(ModuleType):
    """Represents the module `vllm`.

    Attributes:
        device: What it was built for.
        blocks: How many blocks its cache has.
        prompts_of_a_step: How many prompts it reads in one step. The sequences of the others begin later.
        tokens_of_a_step: How many tokens of each sequence one step writes, as with speculative decoding.
        cached: How many tokens of each prompt it takes from a cache.
        loses: How many tokens fewer than asked it writes.
        stop_reason: What it says ended a text.
    """

    of: Double

    def __init__(self, device: str = "cpu") -> None:
        super().__init__("vllm")
        Double.of = self
        self.__spec__ = ModuleSpec("vllm", None)
        self.__version__ = VERSION
        self.device, self.blocks, self.longest, self.prompts_of_a_step, self.tokens_of_a_step = device, 1_000, 512, 100, 1
        self.cached, self.loses, self.raises = 0, 0, ""
        self.tokenizer: Any = None
        self.stop_reason: str | int | None = None
        self.log: list[str] = []
        self.asked: list[SamplingParams] = []
        self.threads = 2
        self.LLMEngine, self.EngineArgs, self.SamplingParams = LLMEngine, EngineArgs, SamplingParams
        self.counter = SimpleNamespace(num_backend_compilations=0, num_cudagraph_captured=0)

    def modules(self) -> dict[str, Any]:
        """Return the modules as the generator imports them, with the few calls of torch that it makes."""

        def set_num_threads(count: int) -> None:
            self.threads = count

        torch = SimpleNamespace(
            __version__="2.13.0+double",
            __spec__=ModuleSpec("torch", None),
            set_num_threads=set_num_threads,
            get_num_threads=lambda: self.threads,
            get_num_interop_threads=lambda: 1,
            _dynamo=SimpleNamespace(utils=SimpleNamespace(counters=defaultdict(lambda: defaultdict(int)))),
            version=SimpleNamespace(cuda="13.0", hip=None),
            cuda=SimpleNamespace(
                get_device_name=lambda: "NVIDIA Double",
                reset_peak_memory_stats=lambda: self.log.append("new peak"),
                max_memory_allocated=lambda: 64 * 2**20,
            ),
        )
        libraries = {name: SimpleNamespace(__version__="1") for name in ("transformers", "tokenizers", "safetensors")}
        return libraries | {
            "vllm": self,
            "torch": torch,
            "vllm.v1.executor.abstract": SimpleNamespace(Executor=Executor),
            "vllm.platforms": SimpleNamespace(current_platform=SimpleNamespace(device_type=self.device)),
            "vllm.inputs": SimpleNamespace(TokensPrompt=dict),
            "vllm.sampling_params": SimpleNamespace(RequestOutputKind=RequestOutputKind),
            "vllm.compilation.counter": SimpleNamespace(compilation_counter=self.counter),
        }


@contextlib.contextmanager
def installed(device: str = "cpu") -> Iterator[Double]:
    """Put the double in the place of vLLM and torch. Afterwards everything is as before."""
    vllm = Double(device)
    modules = vllm.modules()
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield vllm
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
