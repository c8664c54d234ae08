"""Tests what a recipe may say about a language model over HTTP, and what is refused."""

from __future__ import annotations

import pytest

from shared.errors import InvalidInput
from shared.kinds.load import LoadSpec
from shared.recipes import load_recipe
from shared.recipes.cells import cells_of
from shared.targets import Existing, Launched

OPENAI = 'service: {type: openai, address: "http://h:1/v1"}\n'


def spec(text: str) -> LoadSpec:
    found = next(cells_of(load_recipe(text))).spec()
    assert isinstance(found, LoadSpec)
    return found


def test_an_address_is_an_api_and_has_every_default() -> None:
    cell = next(cells_of(load_recipe(OPENAI)))
    assert load_recipe(OPENAI).on == ("api.openai",)
    assert cell.target() == Existing(address="http://h:1/v1")
    found = spec(OPENAI)
    assert (found.phases[0].count, found.request_timeout_s, found.warmup_delay_s) == (50, 300.0, 0.0)
    assert found.client.settings["prompt"] == "Hello world"


@pytest.mark.parametrize(
    ("client", "requests", "tokens"), [("vllm_smoke", 5, 16), ("vllm_stress", 50, 64), ("ollama_smoke", 5, 16), ("ollama", 5, 64)]
)
def test_the_names_of_clients_stand_for_settings(client: str, requests: int, tokens: int) -> None:
    text = f"service: {{type: {client.partition('_')[0]}}}\nclient: {{type: {client}}}"
    cell = next(cells_of(load_recipe(text)))
    assert isinstance(cell.target(), Launched)
    found = spec(text)
    assert (found.phases[0].count, found.client.settings["max_tokens"]) == (requests, tokens)


def test_a_started_vllm_is_left_alone_for_as_long_as_other_frameworks_do() -> None:
    assert spec("service: {type: vllm}").warmup_delay_s == 30
    assert spec("service: {type: vllm}").service.settings["model"] == "facebook/opt-125m"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("prompt: hi, input_tokens: 9", "`prompt` and `input_tokens` both say what the prompts are"),
        ("input_tokens: 9, prompts: [a]", "`input_tokens` and `prompts` both say"),
        ("input_tokens: 9, input_tokens_spread: 0.5", "belong together"),
        ("input_tokens_distribution: normal, input_tokens_spread: 0.5", "write `input_tokens`, too"),
        ("input_tokens: 7", "greater than or equal to 8"),
        ("max_tokens: 0", "greater than or equal to 1"),
        ("num_requests: 0", "greater than or equal to 1"),
        ("prompts: []", "client.settings.prompts: line 2: must not be empty"),
        ("prompts_field: question", "`prompts_field` has no effect without `prompts_file`"),
        ("extra_body: {model: x}", "`extra_body` has `model`, which the client writes itself; write `model`"),
        ("extra_body: {n: 2}", "leave it out: each request asks for one answer"),
        ("api_key: sk-1", "unknown key 'api_key'"),
    ],
)
def test_a_mistake_gets_one_clear_error(settings: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_recipe(f"{OPENAI}client: {{type: openai, settings: {{{settings}}}}}")
    assert said in caught.value.detail


def test_an_slo_of_tokens_is_for_language_models_alone() -> None:
    found = spec(f"{OPENAI}slo: {{p95_ttft_ms: 500, p99_tpot_ms: 50}}")
    assert found.slo is not None
    assert (found.slo.p95_ttft_ms, found.slo.p99_tpot_ms) == (500, 50)
    with pytest.raises(InvalidInput, match=r"`slo\.p50_tpot_ms` is for language models, and a service of the type redis has no tokens"):
        load_recipe("service: {type: redis}\nslo: {p50_tpot_ms: 50}")
