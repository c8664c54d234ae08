"""Defines the interface that every generator implements: a language model in this process.

This module imports neither pydantic nor numpy at run time, for the reason that `worker.engines.base` states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from worker.engines.base import Facts

if TYPE_CHECKING:
    from shared.errors import JobError

# The stages of a cold start, in their order.
IMPORT, TOKENIZER, WEIGHTS, COMPILE = "import", "tokenizer", "weights", "compile"
# The options of a recipe that a generator may know. The batch and the seed are known to each of them.
OPTIONS = (
    *("dtype", "threads", "inter_threads", "compile", "tensor_parallel_size", "max_model_len", "gpu_memory_utilization"),
    *("batch_size", "seed"),
)
Clock = Callable[[], int]  # returns nanoseconds
Batch = Sequence[Sequence[int]]  # the token ids of each prompt; all of them have the same length
# Why a text ends: the model wrote its end token, the text has one of the strings that end it, or it has as many tokens as allowed.
END_TOKEN, STOP_STRING, LENGTH = "stop", "stop_string", "length"


@dataclass(frozen=True)
class Ending:
    """Says where a text ends that `Generator.write` writes, unless the model ends it before.

    Attributes:
        max_tokens: The most new tokens.
        strings: The text ends with the token that completes one of these strings.
    """

    max_tokens: int
    strings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """Holds what `Generator.write` wrote: the new token ids, with the end token if there is one, and why the text ends there."""

    ids: Sequence[int]
    finish_reason: str


@dataclass(frozen=True)
class Settings:
    """Says how a model is loaded and how it chooses tokens. None means the runtime's own default.

    Attributes:
        compile: The mode in which the runtime compiles the model. `none` runs it as it is.
        tensor_parallel_size: How many devices share each layer.
        max_model_len: How many tokens of prompt and answer together the runtime makes room for.
        gpu_memory_utilization: The fraction of the device's memory that the runtime takes.
        batch_size: How many sequences each call has.
        temperature: 0 takes the likeliest token each time.
        seed: What tokens are drawn with.
    """

    dtype: str | None = None
    threads: int | None = None
    inter_threads: int | None = None
    compile: str | None = None
    tensor_parallel_size: int | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    batch_size: int = 1
    attention: str | None = None
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Settings:
        """Return the settings in the specification of a job, as its JSON writes them."""
        options = {name: value for name in OPTIONS if (value := spec["options"].get(name)) is not None}
        return cls(**options, **spec["decoding"])


@dataclass(frozen=True)
class Compiled:
    """Says how often a runtime has compiled the model or captured a graph of it so far, and how long it says that this took."""

    times: int = 0
    ns: int = 0


@dataclass(frozen=True)
class Reads:
    """Says how many bytes of the device's memory one step reads at least, in which each sequence gets one token.

    Attributes:
        weights_bytes: The weights that every step reads, whatever the batch.
        kv_bytes_per_token: The keys and values of each token that is in the context already.
        unknown: Why a step may read less than that. Empty if it cannot.
    """

    weights_bytes: int = 0
    kv_bytes_per_token: int = 0
    unknown: str = ""


class Generator(Protocol):
    """Runs one language model in one process. The calls come in this order: load, prepare, generate or write (often), facts, unload.

    A run of a task calls `encode` before `prepare`, `write` in place of `generate`, and `decode` when everything is measured.
    """

    def load(self, model: Path, settings: Settings, capability: str, clock: Clock) -> Mapping[str, int | None]:
        """Make the model ready.

        Returns:
            The nanoseconds of each stage: `import`, `tokenizer`, `weights`, `compile`. A stage that there is not is None. A
            runtime that compiles in its first calls leaves `compile` to `compiled`.

        Raises:
            ModelInvalid: The runtime cannot read or run the model.
            EngineUnavailable: The capability is not usable here.
        """

    def vocabulary(self) -> int:
        """Return how many token ids there are: prompts hold numbers from 0 to below it."""

    def longest(self) -> int | None:
        """Return how many tokens of prompt and answer together the model takes. None if it states no limit."""

    def prepare(self, batches: Sequence[Batch]) -> None:
        """Put the prompts where the model reads them, so that no call copies anything."""

    def generate(self, batch: int, new_tokens: int, visible: Callable[[], None] | None = None) -> Sequence[int]:
        """Write exactly this many new tokens for each prompt of a prepared batch, and return when the device has done its work.

        Each call starts with an empty cache of keys and values.

        Args:
            batch: The index of the batch.
            visible: Called each time the next token of all sequences is visible to the caller. None in the plain pass.

        Returns:
            How many new tokens each sequence has.
        """

    def compiled(self) -> Compiled:
        """Return what the runtime has compiled since it was loaded. It is called between calls, never during one."""

    def reads(self) -> Reads:
        """Return how much memory a step must read. It is called after the measurement, never during it."""

    def encode(self, text: str) -> Sequence[int]:
        """Return the token ids of a prompt that is text. A tokenizer with a chat template gets it as the message of a user.

        `facts` says under `prompt_format` which of the two it was: `chat template` or `plain text`.

        Raises:
            ModelInvalid: There is no tokenizer, or it cannot read the text.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens such as the one that ends a text."""

    def write(self, batch: int, ending: Ending, visible: Callable[[], None] | None = None) -> Written:
        """Write a text for the only prompt of a prepared batch, and return when the device has done its work.

        Each call starts with an empty cache of keys and values. If tokens are drawn, the same batch gets the same tokens in each call.

        Args:
            batch: The index of the batch.
            visible: Called each time the next token is visible to the caller, also for the token that ends the text.
        """

    def start_phase(self) -> None:
        """Begin a new peak of the device's memory."""

    def peak_gpu_mb(self) -> float | None:
        """Return the most memory of a GPU, in MB of 2^20 bytes, that tensors held since the phase began.

        None without a GPU, or if that is not known: the fact `peak_gpu_missing` then says why.
        """

    def facts(self) -> Facts:
        """Return what the runtime reports. It is called after the measurement, never during it."""

    def explain(self, error: Exception) -> JobError | None:
        """Return the reason for an error of `generate`, in words for the user. None if the error does not come from the runtime."""

    def unload(self) -> None: ...
