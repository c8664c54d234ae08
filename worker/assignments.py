"""Reads an assignment from a queue's message. If it cannot be read, this module says why, and which job it was for."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from shared.ids import JOB_ID, AttemptKey
from shared.protocol.letters import problems
from shared.protocol.messages import Assignment


class Unreadable(Exception):
    """Raised for an assignment that cannot be read. The text says why."""


def read_assignment(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Assignment:
    """Return the assignment in the arguments of a message.

    Raises:
        Unreadable: They are not an assignment of this version.
    """
    if len(args) != 1 or kwargs:
        raise Unreadable(f"a job has one argument, its assignment; got {len(args)} and {sorted(kwargs)}")
    try:
        return Assignment.model_validate_json(json.dumps(args[0]))
    except ValidationError as error:
        raise Unreadable(problems(error)) from error
    except RecursionError as error:
        raise Unreadable("the assignment is nested too deeply") from error


def named_by(args: tuple[Any, ...]) -> AttemptKey | None:
    """Return the job and the attempt that an unreadable assignment is about. None if it does not say so."""
    content = args[0] if len(args) == 1 and isinstance(args[0], dict) else {}
    job_id, attempt = content.get("job_id"), content.get("attempt")
    if not isinstance(job_id, str) or JOB_ID.fullmatch(job_id) is None or type(attempt) is not int or attempt < 1:
        return None
    return job_id, attempt
