"""Defines dead letters. A dead letter is a message that could not be read, stored together with the reason.

Orchestrator and worker both write them with the script `BURY`.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.protocol import keys
from shared.storable import storable_text

REASON_CHARACTERS = 2_000
YEAR_9999 = 253_402_300_799  # the last second of that year; Python has no later dates
MESSAGE_CHARACTERS = 20_000  # enough to recognise the message; a thousand such letters take 20 MB of Redis' memory


class DeadLetter(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: float | None = Field(default=None, ge=0, le=YEAR_9999, allow_inf_nan=False, description="Redis' own clock, seconds since 1970")
    by: str = Field(default="", description="the worker that took it, or `orchestrator`")
    queue: str = Field(default="", description="where it lay; empty where the message did not say")
    reason: str
    message: str = Field(default="", description=f"the message, its first {MESSAGE_CHARACTERS} characters")

    @classmethod
    def read(cls, text: str) -> DeadLetter:
        """Return the dead letter that an item of the list holds.

        Other programs may write to the same Redis. An item that is not a dead letter is returned as the message of a new one.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls(reason="lay among the dead letters, and this version does not know its form", message=_fit(text, MESSAGE_CHARACTERS))


def burial(*, by: str, queue: str, reason: str, message: str) -> list[str]:
    """Return the arguments of the script `BURY`, each cut to its greatest length."""
    return [by, _fit(queue, 200), _fit(reason, REASON_CHARACTERS), _fit(message, MESSAGE_CHARACTERS), str(keys.DEAD_LETTERS_KEPT)]


def problems(error: ValidationError) -> str:
    """Return what is wrong with a message as one line: `job_id: Field required; attempt: …`."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}" for item in items)


def _fit(text: str, most: int) -> str:
    """Return the first `most` characters of a text, without lone surrogates (which UTF-8 cannot encode) and NUL."""
    return storable_text(text[:most])
