"""Defines the errors that users can see, each with its HTTP status.

FleetmarkError (500)
├── InvalidInput (422)          a value in a body or a recipe is wrong; `fields` says which
├── BadRequest (400)            the request cannot be parsed
├── Unauthorized (401)          the token is missing or not valid
├── Forbidden (403)             the caller is known but may not do this
├── NotFound (404)
├── TooSlow (408)               the body arrived too slowly
├── Conflict (409)
│   ├── IllegalTransition       the table of states does not allow this step
│   └── IdentityInUse           two running processes claim to be the same device
├── TooLarge (413)
├── TooManyFailures (429)       one address sent too many wrong tokens; `retry_after_s` says when to try again
├── Unavailable (503)           Redis or the database cannot be reached; try again
└── JobError                    a job failed on a device; stored with the job, never sent as an HTTP status
    ├── ModelUnavailable        the model cannot be fetched, or is not the expected file
    ├── ModelInvalid            the runtime cannot load or run the model
    ├── EngineUnavailable       the worker lacks the capability that it has announced
    ├── RunnerDied              the measured process ended by a signal, an exit code or the out-of-memory killer
    ├── DeviceFailed            the device has a problem that does not depend on the job: no space, no process, no lock
    ├── HostBusy                another measurement on the same host did not end
    ├── DeadlineExceeded
    └── JobCancelled
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """Holds one mistake in an input. `path` is dotted (`jobs.0.timeout_s`); `message` says what is wrong."""

    path: str
    message: str


class FleetmarkError(Exception):
    """Is the base of all errors that are reported to a person. `detail` says what happened and what to do."""

    status: ClassVar[int] = 500

    def __init__(self, detail: str, *, fields: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields or []

    def body(self) -> dict[str, Any]:
        """Return the JSON body with which the API reports this error. All errors use this form."""
        body: dict[str, Any] = {"error": type(self).__name__, "detail": self.detail}
        if self.fields:
            body["fields"] = [{"path": field.path, "message": field.message} for field in self.fields]
        return body


class InvalidInput(FleetmarkError):
    status = 422


class BadRequest(FleetmarkError):
    status = 400


class Unauthorized(FleetmarkError):
    status = 401


class Forbidden(FleetmarkError):
    status = 403


class NotFound(FleetmarkError):
    status = 404


class TooSlow(FleetmarkError):
    status = 408


class Conflict(FleetmarkError):
    status = 409


class IllegalTransition(Conflict):
    """Is raised when the requested state cannot follow the current one."""


class IdentityInUse(Conflict):
    """Is raised when another running process is already registered for this device."""


class TooLarge(FleetmarkError):
    status = 413


class TooManyFailures(FleetmarkError):
    status = 429

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(FleetmarkError):
    status = 503


class JobError(FleetmarkError):
    """Says why a job failed on a device. `kind` is stored with the message, so that failures can be counted by cause."""

    kind: ClassVar[str] = "error"


class ModelUnavailable(JobError):
    kind = "model_unavailable"


class ModelInvalid(JobError):
    kind = "model_invalid"


class EngineUnavailable(JobError):
    kind = "engine_unavailable"


class RunnerDied(JobError):
    kind = "runner_died"


class DeviceFailed(JobError):
    kind = "worker_error"


class HostBusy(JobError):
    kind = "host_busy"


class DeadlineExceeded(JobError):
    kind = "deadline_exceeded"


class JobCancelled(JobError):
    kind = "cancelled"


MOST_NEAREST = 3  # the most names that a hint suggests when all of them are too many to list


def nearest_few(word: str, known: Collection[str], listed_at: str) -> str:
    """Return a hint for a misspelt name, for names that are too many to list: the nearest ones, and where all of them stand."""
    close = get_close_matches(word, known, n=MOST_NEAREST, cutoff=0.5)
    quoted = [repr(one) for one in close]
    hint = f"did you mean {' or '.join(filter(None, (', '.join(quoted[:-1]), quoted[-1])))}? " if quoted else ""
    return f"{hint}The {len(known)} known names are in {listed_at}"


def nearest(word: str, known: list[str]) -> str:
    """Return a hint for a misspelt name: `did you mean 'x'? `, followed by all known names."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known)}"
