"""Writes a job's workload and requirements as JSON, and reads them back, whichever version wrote them.

Every field is written, including defaults, together with the number of the format. So a default that changes in a later version does
not change jobs that were submitted before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from orchestrator.domain.work_needs import NO_NEEDS, WorkNeeds
from shared.engine_options import EngineOptions
from shared.inputs import ModelRef
from shared.jobs import DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S
from shared.kinds.inference import MODEL, InferenceSpec
from shared.kinds.registry import DEFAULT_KIND, kind_named
from shared.recipes import Requirements
from shared.workloads import Workload

Content = TypeVar("Content", Workload, Requirements)

LONGEST_KIND = 100  # the most characters in the name of a kind of work
FORMAT = 2
# 1: there is no `format` key. Values equal to their default were left out, so a missing key means the default of that time.
# 2: every field is written, and `format` is 2. A field that is added later needs a new format only if its default changes what old
#    rows mean. Then an upgrade gives old rows the value that they were submitted with.

_REQUIREMENTS_1: dict[str, Any] = {"min_memory_mb": 0, "min_gpu_memory_mb": 0, "labels": {}}


class NotJson(str):
    """Stands for a stored value that is not JSON, and holds its text. It occurs only in SQLite, after damage or an edit by hand."""

    __slots__ = ()


class Unreadable(ValueError):
    """Says that this version cannot read stored JSON. The message gives the reason in words for people."""


def written(content: Workload | Requirements) -> dict[str, Any]:
    """Return the JSON that the database stores."""
    return {"format": FORMAT, **content.model_dump(mode="json")}


def read_workload(stored: Any) -> Workload:
    """Return a job's workload as it was accepted.

    Raises:
        Unreadable: this version does not know its format, or it is not a workload.
    """
    return _read(Workload, stored, "workload", _upgraded)


def read_requirements(stored: Any) -> Requirements:
    """Return a job's requirements on its device.

    Raises:
        Unreadable: this version does not know its format, or it does not hold requirements.
    """
    return _read(Requirements, stored, "requirements", lambda old, _: {**_REQUIREMENTS_1, **old})


def read_needs(stored: Any) -> WorkNeeds:
    """Return what the work of a lane's jobs needs of a device. Lanes of earlier versions need nothing.

    Raises:
        Unreadable: it cannot be read.
    """
    if stored is None:
        return NO_NEEDS
    if isinstance(stored, NotJson):
        raise Unreadable(f"the stored needs are not JSON: {stored!r:.200}")
    try:
        return WorkNeeds.model_validate(stored)
    except ValidationError as error:
        raise Unreadable(f"the stored needs cannot be read: {_problems(error)}") from error


def shown_workload(stored: Any) -> dict[str, Any]:
    """Return a stored workload for display: with all fields if this version can read it, else as it is stored."""
    try:
        return read_workload(stored).model_dump(mode="json")
    except Unreadable:
        return dict(stored) if isinstance(stored, Mapping) else {}


def shown_options(stored: Any) -> dict[str, Any]:
    """Return the options of a stored workload that differ from their defaults. The values are as they were submitted."""
    if not isinstance(stored, Mapping):
        return {}
    return {name: value for name, value in stored.items() if value != _OPTIONS.get(name)}


def kind_of(stored: Any) -> str:
    """Return the kind of work of a stored workload. It may be a kind of a newer version, which this one does not know."""
    kind = stored.get("kind", DEFAULT_KIND) if isinstance(stored, Mapping) else DEFAULT_KIND
    return kind if isinstance(kind, str) and 0 < len(kind) <= LONGEST_KIND else DEFAULT_KIND


def timeout_of(stored: Any) -> float:
    """Return how many seconds a job may take. This also works for a workload that cannot be read, because each job needs a deadline."""
    value = stored.get("timeout_s", DEFAULT_TIMEOUT_S) if isinstance(stored, Mapping) else None
    return float(value) if isinstance(value, int | float) and 0 < value <= MAX_TIMEOUT_S else float(DEFAULT_TIMEOUT_S)


def unknown_workload(model_name: str) -> Workload:
    """Return a placeholder for a workload that cannot be read. It holds only the model's name, which has its own column."""
    return Workload.model_construct(spec=InferenceSpec(), inputs={MODEL: ModelRef.model_construct(source="unknown", name=model_name)})


def _read(shape: type[Content], stored: Any, what: str, upgrade: Callable[[dict[str, Any], int], dict[str, Any]]) -> Content:
    if isinstance(stored, NotJson):
        raise Unreadable(f"the stored {what} is not JSON: {stored!r:.200}")
    if not isinstance(stored, Mapping):
        raise Unreadable(f"the stored {what} is {type(stored).__name__}, not an object")
    content = dict(stored)
    number = content.pop("format", 1)
    if number not in range(1, FORMAT + 1):
        raise Unreadable(f"the stored {what} has format {number!r:.40}; this version reads formats 1 to {FORMAT}: a newer one wrote it")
    try:
        content = upgrade(content, number) if number != FORMAT else content
        # Not strict, so that lists in the stored JSON become tuples.
        return shape.model_validate(content, strict=False)
    except ValidationError as error:
        raise Unreadable(f"the stored {what} cannot be read: {_problems(error)}") from error
    except ValueError as error:  # an unknown kind of work
        raise Unreadable(f"the stored {what} cannot be read: {error}") from error
    except RecursionError as error:
        raise Unreadable(f"the stored {what} cannot be read: it is nested too deeply") from error


def _upgraded(old: dict[str, Any], written_in: int) -> dict[str, Any]:
    return kind_named(old.get("kind", DEFAULT_KIND)).upgrade(old, written_in)


def _problems(error: ValidationError) -> str:
    items = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in items[:5])[:1_000]


_OPTIONS: Mapping[str, Any] = EngineOptions().model_dump(mode="json")
