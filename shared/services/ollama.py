"""Describes Ollama's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from shared.services.base import PORT, ServiceSettings
from shared.services.language_model import SMOKE, LanguageModelClient, LanguageModelKind

MODEL = r"^[A-Za-z0-9_][A-Za-z0-9_./:@-]*$"


class OllamaSettings(ServiceSettings):
    port: int | None = PORT
    model: str = Field(default="llama2", pattern=MODEL, max_length=1_000, description="the model that is loaded before the first request")
    pull: bool = Field(
        default=False, description="whether the model is downloaded if the device does not have it; without it, such a job fails"
    )
    warmup_seconds: float = Field(
        default=5.0, ge=0, le=3_600, description="how long the server is left alone after it has loaded the model"
    )
    num_parallel: int | None = Field(
        default=None, ge=1, le=1_024, description="how many requests the server computes together; by default it chooses"
    )


class OllamaClient(LanguageModelClient):
    num_requests: int = Field(default=5, ge=1, le=10_000_000, description="how many requests each repeat sends, of all clients together")
    max_retries: int = Field(
        default=30, ge=0, le=1_000, description="has no effect: a request is never sent again, because that would hide a failure"
    )


class Ollama(LanguageModelKind):
    """Describes the type `ollama`; see `shared.services.base.ServiceKind`."""

    name = "ollama"
    settings = OllamaSettings
    client = OllamaClient
    client_types: Mapping[str, Mapping[str, Any]] = {"ollama": {}, "ollama_stress": {"num_requests": 50}, "ollama_smoke": SMOKE}
    startable = True
