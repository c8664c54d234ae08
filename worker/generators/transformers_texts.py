"""Contains what the generator of transformers needs for texts: prompts as token ids, and the rules that end what the model writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.errors import ModelInvalid
from worker.generators.base import END_TOKEN, LENGTH, STOP_STRING

CHAT, PLAIN = "chat template", "plain text"
BYTES_OF_A_CHARACTER = 4  # in UTF-8 at most; a tokenizer of bytes may need a token for each


def format_of(tokenizer: Any) -> str:
    """Return how prompts that are text are given to the model."""
    return CHAT if getattr(tokenizer, "chat_template", None) else PLAIN


def encode(tokenizer: Any, text: str, name: str) -> list[int]:
    """Return the token ids of a prompt. A tokenizer with a chat template gets it as the message of a user.

    Args:
        name: The name of the model, for the error message.

    Raises:
        ModelInvalid: There is no tokenizer, or it cannot read the text.
    """
    if tokenizer is None:
        raise ModelInvalid(f"{name} has no tokenizer, so it cannot read text: a task needs tokenizer.json beside its config.json")
    try:
        if format_of(tokenizer) == PLAIN:
            return [int(one) for one in tokenizer(text)["input_ids"]]
        whole = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        return [int(one) for one in tokenizer(whole, add_special_tokens=False)["input_ids"]]  # the template wrote the special tokens
    except Exception as error:  # a template is a program of the model's authors, and may raise anything
        said = " ".join(str(error).split())[:400]
        raise ModelInvalid(f"the tokenizer of {name} cannot turn a prompt into tokens: {said}") from error


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the token ids that end a text, as the model's own files say: the generation config, else the config, else the tokenizer."""
    for owner in (getattr(model, "generation_config", None), model.config, tokenizer):
        found = getattr(owner, "eos_token_id", None)
        if found is not None:
            return [int(one) for one in (found if isinstance(found, list | tuple) else [found])]
    return []


class StopStrings:
    """Ends a text as soon as it has one of the strings. It implements the stopping criteria of transformers for one sequence.

    Only the last tokens are decoded each time, so a step costs the same however long the text is.
    """

    def __init__(self, torch: Any, tokenizer: Any, strings: Sequence[str], prompt_tokens: int) -> None:
        self._torch, self._tokenizer, self._strings, self._prompt_tokens = torch, tokenizer, strings, prompt_tokens
        self._window = BYTES_OF_A_CHARACTER * max(map(len, strings)) + BYTES_OF_A_CHARACTER
        self.fired = False

    def __call__(self, input_ids: Any, _scores: Any, **_more: Any) -> Any:
        new = input_ids[0, self._prompt_tokens :][-self._window :].tolist()
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        self.fired = any(one in text for one in self._strings)
        return self._torch.tensor([self.fired], device=input_ids.device)


def finish_reason(ids: Sequence[int], ends: Sequence[int], stop: StopStrings | None) -> str:
    """Return why a text ends where it does."""
    if ids and ids[-1] in ends:
        return END_TOKEN
    return STOP_STRING if stop is not None and stop.fired else LENGTH
