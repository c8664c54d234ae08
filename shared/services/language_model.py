"""Defines what all language models over HTTP have in common: the settings of their clients, and what a load on them is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from shared.figures import FigureKind
from shared.services.base import MAX_REQUESTS, ClientSettings, Phase, left_alone, one_phase
from shared.services.language_figures import FIGURES

SHORTEST_PROMPT = 8  # tokens of a generated prompt: its first words make it different from every other one
MOST_TOKENS = 1_000_000
ASK = "ask"  # the one operation
SOURCES = ("prompt", "input_tokens", "prompts", "prompts_file")  # the settings that say what the prompts are


class LanguageModelClient(ClientSettings):
    num_requests: int = Field(default=50, ge=1, le=MAX_REQUESTS, description="how many requests each repeat sends, of all clients together")
    model: str | None = Field(
        default=None, min_length=1, max_length=1_000, description="the model; if it is left out, the only one that the server names"
    )
    endpoint: Literal["chat", "completions"] = Field(
        default="chat", description="whether a prompt is a message of a `chat`, with the template of the model, or text that is continued"
    )
    stream: bool = Field(
        default=True, description="whether the answer is streamed; without it there is no time to first token and nothing between tokens"
    )
    max_tokens: int = Field(default=64, ge=1, le=MOST_TOKENS, description="the most tokens of an answer")
    temperature: float = Field(default=0.0, ge=0, le=100, description="0 takes the most likely token each time")
    sampling_seed: int | None = Field(default=None, ge=0, le=2**63 - 1, description="the seed with which the server draws tokens")
    prompt: str = Field(
        default="Hello world",
        min_length=1,
        max_length=1_000_000,
        description="the prompt of every request; a server with a prefix cache computes it only once",
    )
    input_tokens: int | None = Field(
        default=None,
        ge=SHORTEST_PROMPT,
        le=MOST_TOKENS,
        description="generates prompts of about so many tokens instead, no two of which begin alike: one common English word a token",
    )
    input_tokens_distribution: Literal["fixed", "uniform", "normal", "lognormal"] = Field(
        default="fixed", description="how the lengths of generated prompts are spread around `input_tokens`"
    )
    input_tokens_spread: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the spread as a share of `input_tokens`: the standard deviation, and half of the range for `uniform`",
    )
    prompts: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="takes these prompts instead, in an order that is drawn by the seed; after the last one, the order begins again",
    )
    prompts_file: str | None = Field(
        default=None,
        min_length=1,
        max_length=4_096,
        description="takes the prompts from this file beside the recipe instead, which has one JSON in each line (`.jsonl`); "
        "`fleetmark run` reads it, and the stored recipe holds the prompts themselves",
    )
    prompts_field: str = Field(
        default="prompt", min_length=1, max_length=200, description="the key of the prompt in each line of `prompts_file`"
    )
    keep_prompts: bool = Field(default=False, description="whether `requests.jsonl` holds the prompt of each request")
    warmup_delay: float = left_alone(0.0)
    request_timeout_s: float = Field(
        default=300.0, gt=0, le=3_600, description="after how many seconds without its whole answer a request counts as failed"
    )

    @model_validator(mode="after")
    def _one_source_of_prompts(self) -> LanguageModelClient:
        # What is stored has every setting, so a prompt that is the default does not count.
        written = [name for name in SOURCES if getattr(self, name) != type(self).model_fields[name].default]
        if len(written) > 1:
            raise ValueError(f"`{written[0]}` and `{written[1]}` both say what the prompts are; write one of them")
        if self.prompts_file is None and self.prompts_field != type(self).model_fields["prompts_field"].default:
            raise ValueError("`prompts_field` has no effect without `prompts_file`; write the file of the prompts, or leave it out")
        spread = self.input_tokens_distribution != "fixed"
        if spread != (self.input_tokens_spread > 0):
            raise ValueError(
                "`input_tokens_distribution` and `input_tokens_spread` belong together: write a distribution and a spread above 0"
            )
        if spread and self.input_tokens is None:
            raise ValueError("`input_tokens_distribution` spreads the lengths of generated prompts; write `input_tokens`, too")
        return self


class LanguageModelKind:
    """Holds what all types of service with a language model have in common; see `shared.services.base.ServiceKind`."""

    schemes = ("http", "https")
    figures: Mapping[str, FigureKind] = FIGURES

    def phases(self, client: ClientSettings, count: int | None, duration_s: float | None) -> tuple[Phase, ...]:
        assert isinstance(client, LanguageModelClient)
        return one_phase("requests", {ASK: 1.0}, count or client.num_requests, duration_s)


SMOKE: dict[str, Any] = {"num_requests": 5, "max_tokens": 16}
