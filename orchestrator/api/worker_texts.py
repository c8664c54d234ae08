"""Keeps the JSON text of each worker for lists, so that it is made once for each change of the worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.registry import WorkerRecord


class WorkerTexts:
    """Holds the texts. Several threads may use it: each call makes a dictionary of its own, which then becomes the cache."""

    def __init__(self) -> None:
        self._kept: Mapping[str, tuple[WorkerRecord, str]] = {}

    def of(self, workers: Sequence[WorkerRecord], body: Callable[[WorkerRecord], dict[str, Any]]) -> list[tuple[WorkerRecord, str]]:
        """Return each worker with its JSON text. A worker that is the same object as in the last call has the same text.

        Args:
            workers: every known worker. Texts about workers that are not in it are forgotten.
            body: returns what is shown of a worker.
        """
        kept = self._kept
        shown = [
            found if (found := kept.get(worker.id)) is not None and found[0] is worker else (worker, _text(body(worker)))
            for worker in workers
        ]
        self._kept = {found[0].id: found for found in shown}
        return shown


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
