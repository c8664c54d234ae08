"""Defines the errors of the command line, and the exit codes for scripts.

0: success. 1: jobs failed, a comparison says FAIL, or a part of `fleetmark up` ended. 2: wrong usage, an invalid recipe, or another
request that the API refuses. 3: the orchestrator cannot be reached. 4: a comparison is INCONCLUSIVE. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

from shared.errors import FieldError, FleetmarkError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INCONCLUSIVE = 4
EXIT_INTERRUPTED = 130


class ApiError(FleetmarkError):
    """Is raised when the orchestrator answers with an error. It keeps the orchestrator's message."""

    def __init__(self, status: int, name: str, detail: str, fields: list[FieldError]) -> None:
        super().__init__(detail, fields=fields)
        self.http_status = status
        self.name = name


class Unreachable(FleetmarkError):
    """Is raised when no orchestrator answers."""


class Away(ApiError, Unreachable):
    """Is raised when the orchestrator, or a proxy in front of it, answers that it is temporarily unavailable."""


class PartFailed(FleetmarkError):
    """Is raised when a process that the command line has started fails to start, or ends by itself."""


def exit_code(error: FleetmarkError) -> int:
    if isinstance(error, Unreachable):
        return EXIT_UNREACHABLE
    if isinstance(error, PartFailed):
        return EXIT_FAILED
    if isinstance(error, ApiError):
        return EXIT_UNREACHABLE if error.http_status >= 500 else EXIT_USAGE
    return EXIT_USAGE
