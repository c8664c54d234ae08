"""A dead letter: a message that nobody could read, kept with the reason. Written by both sides through one script (`BURY`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.protocol import keys
from shared.storable import storable_text

REASON_CHARACTERS = 2_000
YEAR_9999 = 253_402_300_799  # its last second; nothing later can be written as a date
MESSAGE_CHARACTERS = 20_000  # enough to see what it was; a thousand such letters are 20 MB of the broker's memory


class DeadLetter(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: float | None = Field(default=None, ge=0, le=YEAR_9999, allow_inf_nan=False, description="Redis' own clock, seconds since 1970")
    by: str = Field(default="", description="the worker that took it, or `orchestrator`")
    queue: str = Field(default="", description="where it lay; empty where the message did not say")
    reason: str
    message: str = Field(default="", description=f"the message, its first {MESSAGE_CHARACTERS} characters")

    @classmethod
    def read(cls, text: str) -> DeadLetter:
        """A letter of the list. What is none is shown as it is: the list lies in a Redis that others may write to."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls(reason="lay among the dead letters and is none that this version knows", message=_fit(text, MESSAGE_CHARACTERS))


def burial(*, by: str, queue: str, reason: str, message: str) -> list[str]:
    """The arguments of the script `BURY`."""
    return [by, _fit(queue, 200), _fit(reason, REASON_CHARACTERS), _fit(message, MESSAGE_CHARACTERS), str(keys.DEAD_LETTERS_KEPT)]


def problems(error: ValidationError) -> str:
    """What is wrong with a message, on one line: `job_id: Field required; attempt: …`."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'message'}: {item['msg']}" for item in items)


def _fit(text: str, most: int) -> str:
    """Return the beginning of a text, without the half characters that JSON can spell and UTF-8 cannot."""
    return storable_text(text[:most])
