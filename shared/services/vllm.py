"""Describes vLLM's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from shared.services.base import PORT, ServiceSettings, left_alone
from shared.services.language_model import SMOKE, LanguageModelKind
from shared.services.openai import OpenAiClient

WORD = r"^[A-Za-z0-9_./@:+=-]*$"


class VllmSettings(ServiceSettings):
    port: int | None = PORT
    model: str = Field(
        default="facebook/opt-125m",
        pattern=r"^[A-Za-z0-9_./@][A-Za-z0-9_./@:+=-]*$",
        max_length=1_000,
        description="the model, as `vllm serve` takes it: a name of the Hugging Face Hub, or a folder of the device",
    )
    tensor_parallel_size: int = Field(default=1, ge=1, le=1_024, description="over how many GPUs each layer is split")
    max_model_len: int | None = Field(default=None, ge=1, le=100_000_000, description="the longest context; by default that of the model")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="the share of the GPU's memory that the server takes")
    dtype: str = Field(default="auto", pattern=WORD, max_length=40, description="the type of the weights and of the computation")
    max_num_seqs: int | None = Field(default=None, ge=1, le=65_536, description="how many requests the server computes together at most")
    prefix_caching: bool = Field(
        default=True,
        description="whether prompts that begin alike are computed once; generated prompts do not, so it has no effect on them",
    )
    enforce_eager: bool = Field(default=False, description="whether the server starts without compiling and without capturing graphs")


class VllmClient(OpenAiClient):
    warmup_delay: float = left_alone(30.0)


class Vllm(LanguageModelKind):
    """Describes the type `vllm`; see `shared.services.base.ServiceKind`."""

    name = "vllm"
    settings = VllmSettings
    client = VllmClient
    client_types: Mapping[str, Mapping[str, Any]] = {"vllm": {}, "vllm_stress": {}, "vllm_smoke": SMOKE}
    startable = True
