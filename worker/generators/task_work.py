"""Prepares the documents of a task for a model, and collects what the model wrote."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import EngineUnavailable, ModelInvalid
from shared.storable import storable_text
from shared.tasks.base import Document, Task, TaskSettings, end_of, filled, prompt_sha256
from shared.tasks.registry import task_named
from worker.generators.base import Ending, Generator, Written

MAX_NAMED = 5  # documents in an error message


@dataclass(frozen=True)
class TaskWork:
    """Holds a task that is ready for a model: its documents, and the token ids of each prompt."""

    task: Task
    documents: Sequence[Document]
    prompts: Sequence[str]
    ids: Sequence[Sequence[int]]
    ending: Ending

    def outputs(self, written: Mapping[int, Written], generator: Generator) -> list[dict[str, Any]]:
        """Return what the model wrote, one object for each document, in their order."""
        return [self._output(number, written[number], generator) for number in range(len(self.documents))]

    def _output(self, number: int, written: Written, generator: Generator) -> dict[str, Any]:
        document = self.documents[number]
        return {
            "document_id": document.id,
            "prompt_sha256": prompt_sha256(self.prompts[number]),
            "output": storable_text(end_of(generator.decode(written.ids), self.ending.strings)),
            "output_tokens": len(written.ids),
            "finish_reason": written.finish_reason,
            "input_tokens": len(self.ids[number]),
            "references": list(document.references),
        }

    def facts(self, written: Mapping[int, Written]) -> dict[str, Any]:
        """Return what the result says about the task."""
        return {
            "task": self.task.name,
            "task_version": self.task.version,
            **({"task_package": self.task.package} if self.task.package else {}),
            "input_tokens": [len(one) for one in self.ids],
            "finish_reasons": dict(Counter(written[number].finish_reason for number in range(len(self.documents)))),
        }


def task_work(spec: Mapping[str, Any], seed: int, dataset: Path | None, generator: Generator) -> TaskWork:
    """Return the task of a job, ready for a model.

    Args:
        spec: The key `task` of the job's specification, as its JSON writes it.
        dataset: The file with the user's own documents.

    Raises:
        EngineUnavailable: This worker does not have the task in the version that the job asks for.
        ModelInvalid: There are no documents, the model cannot read them, or one is too long for it.
    """
    task = _task(spec)
    settings = TaskSettings(spec["documents"], spec["words"], spec["depth"], seed, spec["dataset"], dataset)
    try:
        documents = task.documents(settings)
    except (ValueError, OSError) as error:
        where = f"the data set {dataset.name}" if dataset is not None else f"the documents of the task {task.name}"
        raise ModelInvalid(f"{where}: {error}") from error
    if not documents:
        raise ModelInvalid(f"the task {task.name} has no document: nothing could be measured")
    prompts = [filled(spec["prompt"], document) for document in documents]
    ids = [generator.encode(prompt) for prompt in prompts]
    _refuse_too_long(documents, ids, spec["max_tokens"], generator.longest())
    return TaskWork(task, documents, prompts, ids, Ending(spec["max_tokens"], tuple(spec["stop"])))


def _task(spec: Mapping[str, Any]) -> Task:
    try:
        task = task_named(spec["name"])
    except ValueError as error:
        raise EngineUnavailable(f"this worker: {error}. Update it, or install the package that brings the task") from error
    if task.version != spec["version"]:
        raise EngineUnavailable(
            f"this worker has the version {task.version} of the task {task.name}, and the job asks for {spec['version']}, whose prompts "
            "differ: give the worker and the orchestrator the same version"
        )
    return task


def _refuse_too_long(documents: Sequence[Document], ids: Sequence[Sequence[int]], max_tokens: int, longest: int | None) -> None:
    if empty := next((document.id for document, one in zip(documents, ids, strict=True) if not one), None):
        raise ModelInvalid(f"the prompt of document {empty!r} has no token: the tokenizer knows nothing of it")
    if longest is None:
        return
    beyond = [(len(one) + max_tokens, document.id, len(one)) for document, one in zip(documents, ids, strict=True)]
    beyond = sorted((one for one in beyond if one[0] > longest), reverse=True)
    if beyond:
        together, name, read = beyond[0]
        named = ", ".join(one[1] for one in beyond[:MAX_NAMED]) + ("…" if len(beyond) > MAX_NAMED else "")
        others = f" ({len(beyond)} documents are too long: {named})" if len(beyond) > 1 else ""
        raise ModelInvalid(
            f"document {name!r} is {read} tokens with its prompt, and with max_tokens {max_tokens} {together} together; this model takes "
            f"{longest}{others}: shorten or leave out what is too long, or write a smaller max_tokens"
        )


def digest(written: Written) -> str:
    """Return a short text that is equal for equal token ids, so that repeats can be compared without their texts."""
    return hashlib.sha256(",".join(map(str, written.ids)).encode()).hexdigest()[:16]
