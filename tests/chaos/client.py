"""Simulates a user who submits a campaign and reads its state continuously while faults happen."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.system import System, eventually
from worker.hardware.probe import PROBE_MODEL

LARGE = 250_000  # this number of inferences makes samples (380 kB) that are too large for a message, so they are sent by HTTP
END_WITHIN_S = 180.0  # counted from the last fault: a consumer's batch comes back after 15 s, and an unanswered result after 30 s
TERMINAL = ("complete", "failed", "cancelled")


def recipe(folder: Path, inferences: list[int], seeds: int = 1) -> dict[str, Any]:
    """Return a recipe of short jobs, one for each number of inferences and seed. Each runs a real ONNX graph in a fresh process."""
    model = folder / "tiny.onnx"
    if not model.exists():
        model.write_bytes(PROBE_MODEL)
    return {
        "name": "chaos",
        "model": model.as_uri(),
        "on": ["cpu.onnx"],
        "devices": "any",  # faults of one device must not hold up the whole campaign
        "repeats": 1,
        "warmup": {"min_calls": 1, "min_s": 0.1},
        "sweep": {"options.seed": list(range(seeds)), "inferences": inferences},
        "retries": {"max_attempts": 20},  # the limit is high, because the faults of the plan kill processes and the job is not to blame
    }


def short_jobs(folder: Path, forties: int = 5) -> dict[str, Any]:
    """Return a recipe of 40 jobs times `forties`. One job in forty has large samples."""
    return recipe(folder, [*range(20, 59), LARGE], seeds=forties)


class Client:
    """Uses only the HTTP API. It records in `problems` every answer that must never occur."""

    def __init__(self, system: System) -> None:
        self._address, self._headers = system.address, system.headers
        self._closed = threading.Event()
        self._seen_over, self._may_go_back = 0, False
        self.problems: list[str] = []
        self.answers: Counter[str] = Counter()
        self._thread: threading.Thread | None = None

    def submit(self, recipe: dict[str, Any], key: str) -> str:
        """Send the campaign until it is accepted. All requests have the same idempotency key, so only one campaign is made."""

        def post() -> str | None:
            headers = self._headers | {"Idempotency-Key": key}
            answer = self._answered(httpx.post(f"{self._address}/api/campaigns", json=recipe, headers=headers, timeout=20, verify=False))
            return str(answer["campaign_id"]) if answer else None

        return eventually(post, "the campaign is accepted")

    def look_at(self, campaign_id: str, *, may_go_back: bool = False) -> None:
        """Read the campaign continuously in a thread until `close`.

        Args:
            may_go_back: True if jobs that have ended may become unfinished again.
        """
        self._may_go_back = may_go_back
        self._thread = threading.Thread(target=self._look_on, args=(campaign_id,))
        self._thread.start()

    def ended(self, campaign_id: str, patience_s: float = END_WITHIN_S) -> dict[str, Any]:
        """Wait until the campaign has ended, and return it."""

        def look() -> dict[str, Any] | None:
            seen = self.get(f"/api/campaigns/{campaign_id}", jobs="false")
            return seen if seen and seen["status"] != "running" else None

        return eventually(look, f"{campaign_id} ends", patience_s)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return the answer to a GET, or an empty mapping if it is an error."""
        return self._answered(httpx.get(f"{self._address}{path}", params=query, headers=self._headers, timeout=20, verify=False))

    def content(self, path: str) -> bytes:
        """Return the body of the answer as bytes."""
        return httpx.get(f"{self._address}{path}", headers=self._headers, timeout=60, verify=False).raise_for_status().content

    def _answered(self, answer: httpx.Response) -> dict[str, Any]:
        self.answers[str(answer.status_code)] += 1
        if answer.is_success:
            body: dict[str, Any] = answer.json()
            return body
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or "Retry-After" not in answer.headers:
            self.problems.append(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:500]}")
        return {}

    def _look_on(self, campaign_id: str) -> None:
        while not self._closed.wait(0.2):
            try:
                if seen := self.get(f"/api/campaigns/{campaign_id}", jobs="false"):
                    self._check(seen["total_jobs"], seen["job_breakdown"])
            except httpx.HTTPError as error:
                self.answers[type(error).__name__] += 1

    def _check(self, total: int, breakdown: dict[str, int]) -> None:
        over = sum(breakdown[status] for status in TERMINAL)
        if sum(breakdown.values()) != total:
            self.problems.append(f"at {time.strftime('%X')} the counters do not add up to {total}: {breakdown}")
        if over < self._seen_over and not self._may_go_back:
            self.problems.append(f"at {time.strftime('%X')} {over} jobs had ended, and {self._seen_over} before")
        self._seen_over = max(over, self._seen_over)

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
