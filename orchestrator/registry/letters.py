"""Dead letters: messages that nobody could read, newest first, each with its reason."""

from __future__ import annotations

import json

from orchestrator.registry.link import Link
from shared.capabilities import RESULTS_QUEUE
from shared.protocol import keys


class DeadLetters:
    """Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def count(self) -> int:
        """How many messages nobody could read; each is kept with its reason."""
        with self._link.answering():
            return self._link.redis.llen(keys.DEAD_LETTERS)

    def bury(self, text: str, reason: str) -> None:
        """Keep a message that cannot be read, with the reason."""
        letter = json.dumps({"queue": RESULTS_QUEUE, "reason": reason, "message": text[:20_000]})
        with self._link.answering():
            self._link.redis.lpush(keys.DEAD_LETTERS, letter)
            self._link.redis.ltrim(keys.DEAD_LETTERS, 0, keys.DEAD_LETTERS_KEPT - 1)
