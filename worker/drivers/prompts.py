"""Makes the prompts of the requests to a language model. The same seed gives the same prompts.

Generated prompts are made of common English words, each of which is about one token for tokenizers with 30 000 tokens or more. The true
number is what the server says. Their first eight words spell the number of the request and the seed, so no two prompts begin with the same
eight words, and no cache of prefixes can answer for one of them. The rest is cut from a long text of words that are drawn by the seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import accumulate
from math import log, sqrt
from random import Random
from typing import Any, Protocol

from shared.errors import ModelInvalid

DRAWS = 65_536  # lengths that are drawn; then they begin again
FIRST_WORDS = 8  # of each prompt: four for its number, four for the seed
_TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem hand part "
    "place case week company system program question work government number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father power hour "
    "game line end member law car city community name president team minute idea kid body information back parent face others "
    "level office door health person art war history party result change morning reason research girl guy moment air teacher "
    "force education foot boy age policy process music market sense nation plan college interest death experience effect use "
    "class control field development role effort rate heart drug show leader light voice wife police mind price report "
    "decision son view relationship town road arm difference value building action season society tax director position "
    "player record paper space ground form event official matter center couple site project activity star table need court "
    "oil situation cost industry figure street image phone data picture practice piece land product doctor wall patient "
    "worker news test movie north love south blue green red black white early late small large long short high low old new "
    "good great little own other big different following public bad same able open close first second third next last best "
    "better sure clear true easy hard strong free full half whole real human local common poor natural single simple apple "
    "bread chair dance earth glass happy island jump king"
)
WORDS = tuple(_TEXT.split())  # 256 of them: one for each value of a byte


class Prompts(Protocol):
    """Gives the prompt of each request, by the number of the request in its client process."""

    def text(self, number: int) -> str:
        """Return a prompt. It takes a few microseconds, because it is called just before the request is sent."""

    def facts(self) -> dict[str, Any]:
        """Return what a result says about the prompts."""


class Fixed:
    """Asks the same each time."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt

    def text(self, number: int) -> str:
        del number
        return self._prompt

    def facts(self) -> dict[str, Any]:
        return {"prompts": "fixed"}


class Listed:
    """Takes prompts of a list in an order that is drawn."""

    def __init__(self, prompts: Sequence[str], seed: str) -> None:
        self._prompts = list(prompts)
        Random(f"prompts/{seed}").shuffle(self._prompts)  # noqa: S311 - draws what is sent, no secrets

    def text(self, number: int) -> str:
        return self._prompts[number % len(self._prompts)]

    def facts(self) -> dict[str, Any]:
        return {"prompts": "listed", "different": len(self._prompts)}


class Generated:
    """Makes each prompt of words."""

    def __init__(self, tokens: int, distribution: str, spread: float, seed: str) -> None:
        draw = Random(f"prompts/{seed}")  # noqa: S311 - draws what is sent, no secrets
        self._tokens, self._distribution, self._spread = tokens, distribution, spread
        self._lengths = drawn_lengths(draw, tokens, distribution, spread)
        chosen = draw.choices(WORDS, k=2 * max(self._lengths) + DRAWS)
        self._text = " ".join(chosen)
        self._starts = [0, *accumulate(len(word) + 1 for word in chosen)]  # where each word begins, and one more after the last
        self._most = len(chosen) - max(self._lengths)
        self._seed = " ".join(WORDS[byte] for byte in sha256(seed.encode()).digest()[: FIRST_WORDS // 2])

    def text(self, number: int) -> str:
        first = " ".join([WORDS[byte] for byte in number.to_bytes(4, "little", signed=True)])
        count = self._lengths[number % DRAWS] - FIRST_WORDS
        if count <= 0:
            return f"{first} {self._seed}"
        start = number * 2_654_435_761 % self._most
        return f"{first} {self._seed} {self._text[self._starts[start] : self._starts[start + count] - 1]}"

    def facts(self) -> dict[str, Any]:
        spread = {"distribution": self._distribution, "spread": self._spread} if self._spread else {}
        return {"prompts": "generated", "input_tokens_asked": self._tokens, "a_token_is": "about one common English word", **spread}


def drawn_lengths(draw: Random, tokens: int, distribution: str, spread: float) -> list[int]:
    """Return lengths in tokens. Their mean is about `tokens`, and none is shorter than the words that make a prompt different."""
    width = tokens * spread
    if distribution == "uniform":
        lengths = [draw.uniform(tokens - width, tokens + width) for _ in range(DRAWS)]
    elif distribution == "normal":
        lengths = [draw.gauss(tokens, width) for _ in range(DRAWS)]
    elif distribution == "lognormal":
        sigma = sqrt(log(1 + spread * spread))
        lengths = [draw.lognormvariate(log(tokens) - sigma * sigma / 2, sigma) for _ in range(DRAWS)]
    else:
        return [tokens] * DRAWS
    return [max(FIRST_WORDS, round(length)) for length in lengths]


def prompts_of(settings: Mapping[str, Any], seed: str) -> Prompts:
    """Return the source of prompts that the settings of a client ask for.

    Raises:
        ModelInvalid: They name a file, which only `fleetmark run` reads.
    """
    if settings.get("prompts_file"):
        raise ModelInvalid(
            f"client.settings.prompts_file is {settings['prompts_file']!r}, and only `fleetmark run` reads such a file: submit the recipe "
            "with it, or write the prompts themselves as `prompts`"
        )
    if settings.get("prompts"):
        return Listed(settings["prompts"], seed)
    if settings.get("input_tokens"):
        distribution, spread = settings.get("input_tokens_distribution", "fixed"), settings.get("input_tokens_spread", 0.0)
        return Generated(int(settings["input_tokens"]), str(distribution), float(spread), seed)
    return Fixed(str(settings.get("prompt", "Hello world")))


def as_json(text: str) -> bytes:
    """Return a text as a JSON string."""
    return json.dumps(text).encode()
