"""Tests the prompts of requests: what the seed decides, that no two begin alike, and how long they are."""

from __future__ import annotations

from statistics import fmean, pstdev

import pytest

from shared.services.language_model import SHORTEST_PROMPT
from worker.drivers.prompts import DRAWS, FIRST_WORDS, WORDS, Generated, as_json, prompts_of


def test_the_same_seed_gives_the_same_prompts_and_another_one_others() -> None:
    asked = {"input_tokens": 100, "input_tokens_distribution": "normal", "input_tokens_spread": 0.3}
    of_one, again, of_other = (prompts_of(asked, seed) for seed in ("1/0", "1/0", "1/1"))
    assert [of_one.text(number) for number in range(50)] == [again.text(number) for number in range(50)]
    assert not {of_one.text(number) for number in range(50)} & {of_other.text(number) for number in range(50)}


def test_no_two_prompts_begin_with_the_same_words_over_requests_and_clients() -> None:
    of_clients = [prompts_of({"input_tokens": 40}, f"7/{client}") for client in range(4)]
    starts = [
        tuple(prompts.text(number).split()[:FIRST_WORDS]) for prompts in of_clients for number in (*range(-1, 500), 65_536, 10_000_000)
    ]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("tokens", [SHORTEST_PROMPT, 9, 512])
def test_a_prompt_has_as_many_words_as_tokens_are_asked_for(tokens: int) -> None:
    prompts = Generated(tokens, "fixed", 0.0, "1")
    assert {len(prompts.text(number).split()) for number in (0, 1, 77, DRAWS, DRAWS + 1, 9_999_999)} == {tokens}


@pytest.mark.parametrize(("distribution", "deviation"), [("normal", 0.25), ("lognormal", 0.25), ("uniform", 0.25 / 3**0.5)])
def test_lengths_are_spread_as_they_are_asked_for(distribution: str, deviation: float) -> None:
    prompts = Generated(400, distribution, 0.25, "1")
    lengths = [len(prompts.text(number).split()) for number in range(3_000)]
    assert fmean(lengths) == pytest.approx(400, rel=0.03)
    assert pstdev(lengths) / 400 == pytest.approx(deviation, rel=0.1)
    assert min(lengths) >= FIRST_WORDS


def test_listed_prompts_are_all_taken_before_one_is_taken_again_and_each_seed_has_its_order() -> None:
    listed = [f"prompt {number}" for number in range(20)]
    found = [prompts_of({"prompts": listed}, seed) for seed in ("a", "b")]
    orders = [[one.text(number) for number in range(20)] for one in found]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(listed)
    assert orders[0] != orders[1]
    assert found[0].text(20) == orders[0][0]
    assert found[0].facts() == {"prompts": "listed", "different": 20}


def test_without_a_source_the_one_prompt_is_asked_each_time() -> None:
    prompts = prompts_of({"prompt": 'Say "hi"\n', "input_tokens": None, "prompts": None}, "1")
    assert prompts.text(0) == prompts.text(9) == 'Say "hi"\n'
    assert as_json(prompts.text(0)) == b'"Say \\"hi\\"\\n"'


def test_each_byte_has_a_word_of_its_own() -> None:
    assert len(set(WORDS)) == len(WORDS) == 256
