"""The errors a user can meet, with the HTTP status each becomes.

FleetmarkError (500)
├── InvalidInput (422)          something in a body or a recipe is wrong; `fields` says where
├── BadRequest (400)            the request cannot be read at all
├── Unauthorized (401)          no token, or none that counts
├── Forbidden (403)             the caller is known, and may not do this
├── NotFound (404)
├── TooSlow (408)               the body came in too slowly
├── Conflict (409)
│   ├── IllegalTransition       a step that the table of states does not have
│   └── IdentityInUse           two living processes claim one device
├── TooLarge (413)
├── TooManyFailures (429)       wrong tokens from one address; `retry_after_s` says when to try again
├── Unavailable (503)           Redis or the database is away; try again
└── JobError                    why a job failed on a device; recorded, never an HTTP answer
    ├── ModelUnavailable        the model cannot be fetched or is not what was promised
    ├── ModelInvalid            the runtime cannot load or run it
    ├── EngineUnavailable       the capability is not really there
    ├── RunnerDied              a signal, an exit code, the out-of-memory killer
    ├── DeviceFailed            the device's own trouble, whatever the job: no room, no process, no lock
    ├── HostBusy                another measurement on the host did not end
    ├── DeadlineExceeded
    └── JobCancelled
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong in an input: `path` is dotted (`jobs.0.timeout_s`), `message` says what to do instead."""

    path: str
    message: str


class FleetmarkError(Exception):
    """Base of everything that is reported to a person. `detail` says what happened and what to do."""

    status: ClassVar[int] = 500

    def __init__(self, detail: str, *, fields: list[FieldError] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields or []

    def body(self) -> dict[str, Any]:
        """The one shape in which every error leaves the API."""
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
    """A state was asked for that cannot follow the present one."""


class IdentityInUse(Conflict):
    """Another living process already speaks for this device."""


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
    """Why a job failed on a device. `kind` is stored beside the message so that causes can be counted."""

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


def nearest(word: str, known: list[str]) -> str:
    """A hint for a misspelt name: `did you mean 'x'? ` followed by the known ones."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known)}"
