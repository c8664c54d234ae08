"""Explains vLLM's errors to the user: what is wrong, what to do, and then vLLM's own words. It imports no vLLM.

The patterns match the messages of version 0.32. A message that no pattern matches is passed on unchanged.
"""

from __future__ import annotations

import re

from shared.errors import JobError, ModelInvalid
from worker.engines.torch_errors import is_out_of_memory, words_of

MEANT = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    IndexError,
    MemoryError,
    OSError,
    KeyError,
    AttributeError,
    NotImplementedError,
)
# Less memory is free than vLLM wants to take for the keys and values, or than its share of the device is.
_SHARE = re.compile(r"(?:Available|Free) memory on|No available memory for the cache blocks", re.IGNORECASE)
_CONTEXT = re.compile(r"max seq(?:uence)? len.{0,40}\((?P<longest>\d+)\).{0,200}KV cache", re.IGNORECASE | re.DOTALL)
_FITS = re.compile(r"estimated maximum model length is (?P<fits>\d+)", re.IGNORECASE)
_LONGER = re.compile(r"max_model_len.{0,60}is greater than the derived max_model_len", re.IGNORECASE | re.DOTALL)
_HEADS = re.compile(
    r"must be divisible by tensor parallel size|Not enough allowed NUMA nodes|World size .* is larger than"
    r"|tensor parallel size .* (?:exceeds|larger)",
    re.IGNORECASE,
)
_ARCHITECTURE = re.compile(
    r"architectures? .* (?:not supported|failed to be inspected)|has no vLLM implementation", re.IGNORECASE | re.DOTALL
)


def explain(error: Exception, name: str, version: str, device: str) -> JobError:
    """Return the job's error for an exception of vLLM, while a model was loaded or while it generated."""
    text = str(error)
    said = f"vLLM says: {words_of(text)}"
    if _CONTEXT.search(text):
        fits = _FITS.search(text)
        longest = f"give options.max_model_len: {fits['fits']}, which fits" if fits else "give a smaller options.max_model_len"
        return ModelInvalid(
            f"the keys and values of one sequence of {name} do not fit into the memory that is left beside its weights: {longest}, or a "
            f"larger options.gpu_memory_utilization. {said}"
        )
    if _LONGER.search(text):
        return ModelInvalid(f"options.max_model_len is longer than the context that {name} was made for: give a smaller one. {said}")
    if _SHARE.search(text):
        return ModelInvalid(
            f"vLLM does not get the share of the memory of {device} that it wants for {name} and its keys and values: give a smaller "
            f"options.gpu_memory_utilization if other programs use this memory, a larger one if the model does not fit. {said}"
        )
    if _HEADS.search(text):
        return ModelInvalid(
            f"{name} cannot be divided among so many devices: give another options.tensor_parallel_size (on a CPU, its NUMA nodes are the "
            f"devices). {said}"
        )
    if _ARCHITECTURE.search(text):
        return ModelInvalid(f"vLLM {version} does not know the architecture of {name}: measure it with transformers. {said}")
    if is_out_of_memory(error):
        return ModelInvalid(
            f"{name} does not fit into the memory of {device} on this device: take a smaller model or options.max_model_len, or divide it "
            f"among several devices (options.tensor_parallel_size). {said}"
        )
    return ModelInvalid(f"vLLM {version} cannot run {name}: {words_of(text) or type(error).__name__}")


def no_room_for(name: str, batch: int, tokens: int, room: int) -> ModelInvalid:
    """Return the error for a batch whose keys and values do not fit into the cache together.

    Args:
        tokens: What one sequence takes of the cache, in whole blocks.
        room: How many tokens the cache holds.
    """
    return ModelInvalid(
        f"{batch} sequences of {tokens} tokens do not fit into the cache of keys and values beside {name}, which holds {room} tokens: they "
        f"would wait for each other. At most {room // tokens} fit: give a smaller options.batch_size, or a larger "
        "options.gpu_memory_utilization"
    )
