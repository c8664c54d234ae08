"""Keeps dead letters: messages that could not be read or were refused, newest first, each with the reason."""

from __future__ import annotations

from typing import cast

from orchestrator.registry.link import Link
from shared.capabilities import RESULTS_QUEUE
from shared.protocol import keys, scripts
from shared.protocol.letters import DeadLetter, burial


class DeadLetters:
    """Keeps the dead letters. Every method raises `Unavailable` if Redis does not answer."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._bury = link.redis.register_script(scripts.BURY)

    def count(self) -> int:
        """Return how many are kept. Beyond `DEAD_LETTERS_KEPT` the oldest are dropped."""
        with self._link.answering():
            return self._link.redis.llen(keys.DEAD_LETTERS)

    def newest(self, limit: int) -> list[DeadLetter]:
        return self.counted(limit)[1]

    def counted(self, limit: int) -> tuple[int, list[DeadLetter]]:
        """Return how many are kept, and the newest of them."""
        with self._link.answering():
            pipeline = self._link.redis.pipeline(transaction=False)
            pipeline.llen(keys.DEAD_LETTERS)
            pipeline.lrange(keys.DEAD_LETTERS, 0, limit - 1)
            count, texts = cast("tuple[int, list[str]]", pipeline.execute())
        return count, [DeadLetter.read(text) for text in texts]

    def bury(self, text: str, reason: str) -> None:
        """Keep a message of the results queue as a dead letter, with the reason."""
        with self._link.answering():
            self._bury(args=burial(by="orchestrator", queue=RESULTS_QUEUE, reason=reason, message=text))
