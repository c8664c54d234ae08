"""The errors of the command line, and the exit codes that scripts read.

0 well; 1 jobs failed (or a part of `fleetmark up` died); 2 wrong usage, an invalid recipe or whatever else the API refuses;
3 the orchestrator cannot be reached; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

from shared.errors import FieldError, FleetmarkError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130


class ApiError(FleetmarkError):
    """The orchestrator answered with an error; its own words are kept."""

    def __init__(self, status: int, name: str, detail: str, fields: list[FieldError]) -> None:
        super().__init__(detail, fields=fields)
        self.http_status = status
        self.name = name


class Unreachable(FleetmarkError):
    """No orchestrator answers."""


class Away(ApiError, Unreachable):
    """The orchestrator, or a proxy before it, answers that it cannot serve just now."""


class PartFailed(FleetmarkError):
    """A process that the command line started did not start, or ended by itself."""


def exit_code(error: FleetmarkError) -> int:
    if isinstance(error, Unreachable):
        return EXIT_UNREACHABLE
    if isinstance(error, PartFailed):
        return EXIT_FAILED
    if isinstance(error, ApiError):
        return EXIT_UNREACHABLE if error.http_status >= 500 else EXIT_USAGE
    return EXIT_USAGE
