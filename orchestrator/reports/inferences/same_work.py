"""Decides which jobs did the same work. Only such jobs answer the same question, so only they may be ranked against each other.

Two jobs did the same work if they ran the same model bytes on the same inputs. This compares the model's hash, each input's bound shape,
type and values, the batch, and every option that changes the question. Jobs of the same work may differ in device, provider, threads,
graph optimisation level and mode of a compiler. These differences are what a report compares.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.reports.bundle import JobRecord
from shared.engine_options import EngineOptions
from shared.workloads import inference_of

ANSWERS = frozenset(
    {"providers", "threads", "inter_threads", "graph", "compile"}
)  # these options change how fast the work is done, but not the work
BOUND = frozenset({"batch_size", "shapes", "dims", "values", "seed"})  # the effect of these options is visible in the bound inputs
SHORT_HASH = 8  # a title shows so many characters of a hash
MAX_PARTS = 3  # a title names at most so many inputs or options; a language model has dozens
UNKNOWN_CONTENT = "the result does not say which bytes were measured (it has no hash of the model), so nothing is ranked"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class BoundInput:
    """Describes one input as the measured process got it. A value that the worker did not report is empty."""

    name: str
    element_type: str
    shape: str  # `1×3×224×224`
    values: str  # SHA-256 of the values

    def is_whole(self) -> bool:
        return bool(self.shape and self.values)


@dataclass(frozen=True, slots=True)
class Work:
    """Describes the work of one job as far as it is known. Jobs with equal works may be ranked.

    The model's name is not a part of it: the same bytes under two names are the same work.

    Attributes:
        content: one SHA-256 for the model and the files that belong to it; empty if not known.
        batch: the bound batch size; None if no input has a batch.
        question: the options that change the question, as (name, text).
        asked: the options that the bound inputs would show, if the result does not report these inputs.
    """

    content: str = ""
    inputs: tuple[BoundInput, ...] = ()
    batch: int | None = None
    question: Pairs = ()
    asked: Pairs = ()

    def may_be_ranked(self) -> bool:
        return bool(self.content)


def work_of(job: JobRecord) -> Work:
    """Return the work of a job."""
    model, result = job.workload.model, job.result
    runtime: Mapping[str, Any] = result.runtime if result is not None else {}
    inputs = _inputs(runtime)
    options = _options(inference_of(job.workload).options)
    batch = runtime.get("batch_size")
    return Work(
        content=(result.model_sha256 if result is not None else None) or model.content_sha256 or "",
        inputs=inputs,
        batch=batch if isinstance(batch, int) else None,
        question=tuple((name, text) for name, text in options if name not in ANSWERS | BOUND),
        asked=() if inputs and all(one.is_whole() for one in inputs) else tuple(pair for pair in options if pair[0] in BOUND),
    )


def _inputs(runtime: Mapping[str, Any]) -> tuple[BoundInput, ...]:
    listed = runtime.get("inputs")
    found = [
        BoundInput(
            name=str(one.get("name") or ""),
            element_type=str(one.get("type") or ""),
            shape=_shape(one.get("bound_shape")),
            values=str(one.get("values_sha256") or ""),
        )
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, Mapping)
    ]
    return tuple(sorted(found, key=lambda one: one.name))


def _shape(shape: Any) -> str:
    if not isinstance(shape, list | tuple):
        return ""
    return "×".join(map(str, shape)) or "scalar"


def _options(options: EngineOptions) -> Pairs:
    """Return the options that were set, as (name, text)."""
    given = options.model_dump(mode="json", exclude_none=True)
    return tuple((name, value if isinstance(value, str) else json.dumps(value, sort_keys=True)) for name, value in sorted(given.items()))


def titles(names: Mapping[Work, str], swept: Mapping[Work, str] | None = None) -> dict[Work, str]:
    """Return the title of each work: the model's name, and what distinguishes it from other works with that name.

    A title holds only facts that differ, and only as many as are needed. If the batch explains different shapes, the shapes are left out.

    Args:
        names: the model's name for each work.
        swept: the values of the inputs that the recipe varied. They are used if the facts do not distinguish the works.
    """
    by_name: dict[str, list[Work]] = defaultdict(list)
    for work, name in names.items():
        by_name[name].append(work)
    return {work: title for name, works in by_name.items() for work, title in _titles_of(name, works, swept or {}).items()}


def _titles_of(name: str, works: list[Work], swept: Mapping[Work, str]) -> dict[Work, str]:
    said: dict[Work, tuple[str, ...]] = dict.fromkeys(works, (name,))
    for fact in _FACTS:
        more = {work: (*said[work], words) for work, words in _differing(fact, works).items()}
        if len(set(more.values())) > len(set(said.values())):
            said = more
    if len(set(said.values())) < len(works) and len({swept.get(work, "") for work in works}) == len(works):
        said = {work: (name, swept.get(work, "")) for work in works}
    if len(set(said.values())) < len(works):  # the works differ in more parts than a title has room for
        said = {work: (*words, f"no. {number}") for number, (work, words) in enumerate(said.items(), start=1)}
    return {work: " · ".join(filter(None, words)) for work, words in said.items()}


def _differing(fact: Callable[[Work], dict[str, str]], works: list[Work]) -> dict[Work, str]:
    """Return for each work the text for one fact, without the parts that all works have in common."""
    known = {work: fact(work) for work in works}
    having: Counter[str] = Counter()
    said: dict[str, set[str]] = defaultdict(set)
    for words in known.values():
        having.update(words.keys())
        for part, text in words.items():
            said[part].add(text)
    differing = [part for part, texts in said.items() if len(texts) > 1 or having[part] < len(works)]
    shown, left_out = differing[:MAX_PARTS], len(differing) - MAX_PARTS
    more = f", and {left_out} more" if left_out > 0 else ""
    return {work: ", ".join(words[part] for part in shown if words.get(part)) + more for work, words in known.items()}


def _content(work: Work) -> dict[str, str]:
    return {"content": f"sha256 {work.content[:SHORT_HASH]}" if work.content else "content unknown"}


def _batch(work: Work) -> dict[str, str]:
    return {} if work.batch is None else {"batch": f"batch {work.batch}"}


def _question(work: Work) -> dict[str, str]:
    return {name: f"{name} {text}" for name, text in work.question}


def _asked(work: Work) -> dict[str, str]:
    return {name: f"{name} {text}" for name, text in work.asked}


def _shapes(work: Work) -> dict[str, str]:
    return {one.name: f"{one.name} {one.shape or 'of unknown shape'}" for one in work.inputs}


def _types(work: Work) -> dict[str, str]:
    return {one.name: f"{one.name} {one.element_type}" for one in work.inputs}


def _values(work: Work) -> dict[str, str]:
    return {one.name: f"{one.name} with the values {one.values[:SHORT_HASH] or 'that nobody noted'}" for one in work.inputs}


_FACTS: tuple[Callable[[Work], dict[str, str]], ...] = (_content, _batch, _question, _asked, _shapes, _types, _values)
