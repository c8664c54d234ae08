"""Reads the assignments of a queue's message. If one cannot be read, this module says why, and which job it was for.

A message has one argument for each job. Several jobs in one message are a block: they are compared, and their repeats take turns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from shared.ids import JOB_ID, AttemptKey
from shared.jobs import MAX_BLOCK
from shared.protocol.letters import problems
from shared.protocol.messages import Assignment


class Unreadable(Exception):
    """Raised for an assignment that cannot be read. The text says why."""


@dataclass(frozen=True)
class Order:
    """Holds what a message asks for. `faults` are the jobs whose assignments cannot be read, with the reasons."""

    assignments: tuple[Assignment, ...]
    faults: dict[AttemptKey, str]
    reason: str  # why a part of the message cannot be read; empty if all of it can

    @property
    def keys(self) -> list[AttemptKey]:
        """Return every job that the message names."""
        return [*((one.job_id, one.attempt) for one in self.assignments), *self.faults]


def read_order(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Order:
    """Return what the arguments of a message ask for. This never fails."""
    if not 1 <= len(args) <= MAX_BLOCK or kwargs:
        reason = f"a message has an assignment for each of 1 to {MAX_BLOCK} jobs; got {len(args)} arguments and {sorted(kwargs)}"
        return Order((), {}, reason)
    found: dict[AttemptKey, Assignment] = {}
    faults: dict[AttemptKey, str] = {}
    reasons: dict[str, None] = {}
    for argument in args:
        try:
            assignment = _read(argument)
        except Unreadable as error:
            reasons[str(error)] = None
            named = _named_by(argument)
            faults |= {named: str(error)} if named is not None else {}
        else:
            found[assignment.job_id, assignment.attempt] = assignment
    readable = tuple(assignment for key, assignment in found.items() if key not in faults)
    return Order(readable, faults, "; ".join(reasons))


def _read(argument: Any) -> Assignment:
    try:
        return Assignment.model_validate_json(json.dumps(argument))
    except ValidationError as error:
        raise Unreadable(problems(error)) from error
    except RecursionError as error:
        raise Unreadable("the assignment is nested too deeply") from error


def _named_by(argument: Any) -> AttemptKey | None:
    """Return the job and the attempt that an unreadable assignment is about. None if it does not say so."""
    content = argument if isinstance(argument, dict) else {}
    job_id, attempt = content.get("job_id"), content.get("attempt")
    if not isinstance(job_id, str) or JOB_ID.fullmatch(job_id) is None or type(attempt) is not int or attempt < 1:
        return None
    return job_id, attempt
