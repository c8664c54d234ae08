"""Simulates a user who cancels and retries jobs over HTTP while faults happen. It repeats each request until it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.chaos.plan import Fault
from tests.chaos.system import System

ANSWERED_WITHIN_S = 60.0
AGAIN_S = 0.2
PLAINLY = (httpx.codes.OK, httpx.codes.CREATED, httpx.codes.CONFLICT)


class User:
    """Cancels and retries jobs. It records in `problems` every answer that must not occur."""

    def __init__(self, system: System, called_off: threading.Event) -> None:
        self._address, self._headers, self._called_off = system.address, system.headers, called_off
        self.problems: list[str] = []

    def act(self, fault: Fault) -> bool:
        """Cancel a job that has not ended. After `lasts_s` seconds, cancel it again or request a retry.

        Returns False if there was no such job.
        """
        while (listed := self._answered("GET", "/api/campaigns")) is not None and not listed.json()["campaigns"]:
            if self._called_off.wait(AGAIN_S):  # the campaign was still being submitted
                return False
        states = ("running", "pending") if round(fault.at_s * 100) % 2 else ("pending", "running")
        job = next(filter(None, map(self._cancelled, states)), None)
        if job is None:
            return False
        time.sleep(fault.lasts_s)
        if fault.kind == "cancel":
            self._expect(self._answered("POST", f"/api/jobs/{job}/cancel"), {"job_id": job, "status": "cancelled"})
        else:
            made = self._answered("POST", f"/api/jobs/{job}/retry")
            again = self._answered("POST", f"/api/jobs/{job}/retry")
            self._expect(made, {"retry_of": job})
            if again is not None and again.status_code == httpx.codes.OK:  # otherwise the previous one has already ended
                self._expect(again, {"job_id": made.json()["job_id"] if made is not None else None, "retry_of": job})
        return True

    def _cancelled(self, status: str) -> str | None:
        """Return the id of a job in this state that was cancelled before it ended."""
        while not self._called_off.is_set():
            listed = self._answered("GET", f"/api/jobs?status={status}&limit=1")
            if listed is None or not listed.json()["jobs"]:
                return None
            job = str(listed.json()["jobs"][0]["job_id"])
            answer = self._answered("POST", f"/api/jobs/{job}/cancel")
            if answer is not None and answer.status_code == httpx.codes.OK:
                return job
        return None

    def _answered(self, method: str, path: str) -> httpx.Response | None:
        """Return the answer once the system can give one. Returns None if the user was told to stop, or if no answer came in time."""
        until = time.monotonic() + ANSWERED_WITHIN_S
        while time.monotonic() < until:
            answer = _or_away(lambda: httpx.request(method, f"{self._address}{path}", headers=self._headers, timeout=20, verify=False))
            if answer is not None and answer.status_code in PLAINLY:
                return answer
            if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self.problems.append(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
                return None
            if self._called_off.wait(AGAIN_S):
                return None
        self.problems.append(f"{method} {path} was not answered within {ANSWERED_WITHIN_S:g} s")
        return None

    def _expect(self, answer: httpx.Response | None, content: dict[str, Any]) -> None:
        if answer is not None and not content.items() <= answer.json().items():
            self.problems.append(f"{answer.request.method} {answer.request.url.path} answered {answer.text[:500]}, not {content}")


def _or_away(ask: Callable[[], httpx.Response]) -> httpx.Response | None:
    try:
        return ask()
    except httpx.HTTPError:  # the plan has killed or stopped this part, or cut its connection
        return None
