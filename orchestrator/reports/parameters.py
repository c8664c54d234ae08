"""Finds the parameters that distinguish the jobs of a campaign: swept values, and options in which its models differ.

A parameter is written as `batch_size=8`, and several as `batch_size=8; threads=2`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.inputs import ModelRef
from shared.kinds.generation import OF_A_TASK
from shared.kinds.registry import KINDS
from shared.services.native_tools import OURS
from shared.workloads import inference_workload

OPTIONS = "options"
INFERENCES = "inferences"
VALUES = "options.values."  # an array among them may have 65 536 elements, and a spreadsheet's cell holds 32 767 characters
MAX_TEXT = 200  # the most characters of one value
# Jobs that were stored in format 1 left out values that were equal to their default of that time (see `domain.stored`).
_DEFAULTS = inference_workload(model=ModelRef(source="-", name="-"), repeats=5).model_dump(mode="json")
_DEFAULTS |= {"client": {"driver": OURS}}  # a load leaves it out when our own clients send
_NO_PART_OF_THE_WORK = frozenset({"model", "on", "devices", "priority", "requires", "retries"})  # other columns show them
_SECTIONS = frozenset(kind.section for kind in KINDS.values()) - {""}
_LEFT_OUT = (f"{OPTIONS}.", "client.settings.", "client.")  # what names of parameters need not begin with to be understood
_NOWHERE = object()


def varied_paths(sweep: Mapping[str, Any] | None, models: Sequence[Any] | None, options: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the paths into a workload at which the jobs of one recipe differ, such as `options.threads`.

    Args:
        sweep: the recipe's `sweep`.
        models: the recipe's `models`; an entry is an address, or a mapping that may have `options` of its own.
        options: the recipe's `options`, to which those of an entry are added.
    """
    paths = [_path_in_job(path) for path in sweep or ()]
    own = [(entry.get(OPTIONS) if isinstance(entry, Mapping) else None) or {} for entry in models or ()]
    of_entries: list[dict[str, Any]] = [{**(options or {}), **of_entry} for of_entry in own]  # options are merged key by key
    if len({entry.get(INFERENCES) if isinstance(entry, Mapping) else None for entry in models or ()}) > 1:
        paths.append(INFERENCES)
    for name in dict.fromkeys(name for entry in of_entries for name in entry):
        values = [entry.get(name, _DEFAULTS[OPTIONS].get(name)) for entry in of_entries]
        if any(value != values[0] for value in values):
            paths.append(f"{OPTIONS}.{name}")
    return tuple(sorted(set(filter(None, paths))))  # sorted, because PostgreSQL does not keep the order of the recipe's keys


def _path_in_job(path: str) -> str:
    """Return the path in a job for a path in a recipe: `models.0.options.threads` becomes `options.threads`."""
    parts = path.split(".")
    if parts[0] in OF_A_TASK:
        return ".".join(("task", *parts))
    return ".".join(parts[2:] if parts[0] == "models" else parts[1:] if parts[0] in _SECTIONS else parts)


def job_parameters(workload: Mapping[str, Any], paths: Iterable[str]) -> dict[str, str]:
    """Return a job's values at these paths, as short name -> text. Paths that do not exist in a job are left out.

    Args:
        workload: the workload as it is stored with the job.
    """
    found: dict[str, str] = {}
    for path in paths:
        value = _at(workload, path)
        if value is _NOWHERE:
            value = _at(_DEFAULTS, path)
        if value is not _NOWHERE and path.partition(".")[0] not in _NO_PART_OF_THE_WORK:
            found |= {_short(name): text for name, text in _leaves(path, value)}
    return found


def parts_of(paths: Iterable[str]) -> list[str]:
    """Return the keys of a workload under which these paths lie. With them alone, `job_parameters` returns the same."""
    return sorted({path.partition(".")[0] for path in paths})


def assumed_dimensions(runtime: Mapping[str, Any]) -> dict[str, str]:
    """Return the free dimensions whose size was not given, as `sequence` -> `1 (assumed)`. Older workers report none."""
    assumed = runtime.get("assumed_dims")
    return {str(name): f"{size} (assumed)" for name, size in assumed.items()} if isinstance(assumed, dict) else {}


def written(parameters: Mapping[str, str]) -> str:
    """Return parameters as one cell: `batch_size=8; threads=2`."""
    return "; ".join(f"{name}={value}" for name, value in parameters.items())


def _at(content: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or `_NOWHERE`. Keys may contain dots (`input.1`); the longest matching key is used."""
    here: Any = content
    parts = path.split(".")
    while parts:
        if not isinstance(here, Mapping):
            return _NOWHERE
        taken = next((count for count in range(len(parts), 0, -1) if ".".join(parts[:count]) in here), None)
        if taken is None:
            return _NOWHERE
        here, parts = here[".".join(parts[:taken])], parts[taken:]
    return here


def _leaves(path: str, value: Any) -> list[tuple[str, str]]:
    """Return (path, text) of each value in a nested mapping, or of the value itself."""
    if isinstance(value, Mapping):
        return [leaf for name, inner in value.items() for leaf in _leaves(f"{path}.{name}", inner)]
    return [(path, _shortened(_exact(value) if path.startswith(VALUES) else _text(value)))]


def _exact(value: Any) -> str:
    """Return a value of an input: as JSON, so that a range is no shape, and a text cannot be taken for a number or another parameter."""
    plain = isinstance(value, str) and not set(value) & set("=;") and not _reads_as_json(value)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def _reads_as_json(text: str) -> bool:
    """Return whether a text without its quotes would be taken for another value, such as `1` or `true`."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _shortened(text: str) -> str:
    """Return a text that fits into a cell. A longer one ends in its hash, so that two of them are told apart."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}… (sha256 {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]})"


def _short(path: str) -> str:
    for start in _LEFT_OUT:
        if path.startswith(start):
            return path.removeprefix(start)
    return path


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(item, int) for item in value):
        return "x".join(map(str, value))
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "+".join(value)
    return json.dumps(value, ensure_ascii=False)
