"""Describes any address that speaks OpenAI's protocol, whoever runs it. A worker does not start such a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from shared.services.base import ServiceSettings
from shared.services.language_model import SMOKE, LanguageModelClient, LanguageModelKind

# The keys of a body that the client writes itself, with the setting that each of them comes from.
OURS: Mapping[str, str] = {
    **{"model": "model", "messages": "prompt", "prompt": "prompt", "stream": "stream", "stream_options": "include_usage"},
    **{
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "seed": "sampling_seed",
        "ignore_eos": "ignore_eos",
        "n": "",
        "best_of": "",
    },
}
Json = str | int | float | bool | None | list[Any] | dict[str, Any]


class OpenAiSettings(ServiceSettings):
    """Is empty: the service runs already."""


class OpenAiClient(LanguageModelClient):
    ignore_eos: bool = Field(
        default=False,
        description="whether the server goes on after the end of an answer, so that each has `max_tokens` tokens; vLLM and some others can",
    )
    include_usage: bool = Field(
        default=True,
        description="whether the server is asked for the numbers of tokens at the end of a stream; some servers refuse the question",
    )
    extra_body: dict[str, Json] = Field(
        default_factory=dict, max_length=100, description="further keys of the body of each request, such as `top_p`; no keys or passwords"
    )

    @model_validator(mode="after")
    def _no_key_twice(self) -> OpenAiClient:
        for name, setting in OURS.items():
            if name in self.extra_body:
                instead = f"write `{setting}`" if setting else "leave it out: each request asks for one answer"
                raise ValueError(f"`extra_body` has `{name}`, which the client writes itself; {instead}")
        return self


class OpenAi(LanguageModelKind):
    """Describes the type `openai`; see `shared.services.base.ServiceKind`."""

    name = "openai"
    settings = OpenAiSettings
    client = OpenAiClient
    client_types: Mapping[str, Mapping[str, Any]] = {"openai": {}, "openai_stress": {}, "openai_smoke": SMOKE}
    startable = False
