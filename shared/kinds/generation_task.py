"""Defines the part of a recipe that gives a language model a task, and what of it is stored with a job."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from shared.addresses import shown_address
from shared.kinds.generation_figures import FIGURES as SPEED
from shared.names import OneLine
from shared.scorers.registry import scorer_named
from shared.strict import Strict
from shared.tasks.base import DOCUMENT, QUESTION, Task
from shared.tasks.datasets import MAX_DOCUMENTS
from shared.tasks.registry import TASKS, task_named
from shared.tasks.wiki import fetched_from, is_address

MAX_PROMPT = 100_000  # characters of a template
MAX_WORDS = 1_000_000
MAX_ANSWER = 100_000  # tokens
MAX_SCORERS = 20


def _known_task(name: str) -> str:
    task_named(name)
    return name


def _known_scorer(name: str) -> str:
    scorer = scorer_named(name)
    if taken := sorted(set(SPEED).intersection(scorer.figures)):
        raise ValueError(f"the scorer {name} of the package {scorer.package} has the figure {taken[0]}, which is taken: rename it there")
    return name


def _with_document(template: str) -> str:
    if DOCUMENT not in template:
        raise ValueError(f"a prompt says where the document stands: write {DOCUMENT} in it; there is also {QUESTION}")
    return template


Prompt = Annotated[str, AfterValidator(_with_document)]
ScorerName = Annotated[str, AfterValidator(_known_scorer), Field(max_length=64)]


class TaskSection(Strict):
    """Holds the key `task` of a recipe: the name of a task, alone or as a mapping with its settings."""

    name: Annotated[OneLine, AfterValidator(_known_task)] = Field(
        max_length=64, description="which task: " + ", ".join(f"`{name}` ({task_named(name).meaning})" for name in TASKS)
    )
    documents: int | None = Field(
        default=None, ge=1, le=MAX_DOCUMENTS, description="how many documents: the first of a data set, or how many are generated"
    )
    words: int | None = Field(default=None, ge=1, le=MAX_WORDS, description="how many words each generated document has")
    depth: float | None = Field(
        default=None, ge=0, le=1, description="where in a generated document the fact stands, from 0 (the beginning) to 1 (the end)"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, content: Any) -> Any:
        return {"name": content} if isinstance(content, str) else content


class TaskSpec(Strict):
    """Says which task a job gives to a model, with every default written out."""

    name: str = Field(min_length=1, max_length=64)
    version: str = Field(min_length=1, max_length=64)
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    max_tokens: int = Field(ge=1, le=MAX_ANSWER)
    stop: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = Field(default=(), max_length=MAX_SCORERS)
    dataset: str = Field(default="", max_length=4_096)
    documents: int | None = Field(default=None, ge=1, le=MAX_DOCUMENTS)
    words: int | None = Field(default=None, ge=1, le=MAX_WORDS)
    depth: float | None = Field(default=None, ge=0, le=1)


def task_spec(
    section: TaskSection, *, dataset: str | None, prompt: str | None, max_tokens: int | None, evaluate: tuple[str, ...] | None
) -> TaskSpec:
    """Return what is stored of a task. A key that the recipe leaves out has the task's own value.

    Raises:
        ValueError: a setting has no effect on this task, or the address of the data set cannot be fetched.
    """
    task = task_named(section.name)
    for name in ("documents", "words", "depth"):
        if getattr(section, name) is not None and name not in task.settings:
            known = ", ".join(f"task.{one}" for one in sorted(task.settings)) or "none"
            raise ValueError(f"task.{name} has no effect on the task {task.name}: leave it out; its settings: {known}")
    if dataset is not None and not task.datasets:
        raise ValueError(f"`dataset` has no effect on the task {task.name}, which makes its own documents: leave it out")
    if dataset is not None and is_address(dataset):
        try:
            fetched_from(dataset)
        except ValueError as error:
            raise ValueError(f"dataset {shown_address(dataset)!r:.300} {error}") from error
    if evaluate is not None and len(set(evaluate)) < len(evaluate):
        raise ValueError("evaluate names a scorer twice: write each once")
    return TaskSpec(
        name=task.name,
        version=task.version,
        prompt=prompt if prompt is not None else task.prompt,
        max_tokens=max_tokens if max_tokens is not None else task.max_tokens,
        stop=task.stop,
        evaluate=task.scorers if evaluate is None else evaluate,
        dataset=dataset if dataset is not None else next(iter(task.datasets), ""),
        documents=section.documents,
        words=section.words,
        depth=section.depth,
    )


def is_named_dataset(task: Task, dataset: str) -> bool:
    """Return whether a task knows a data set by its name, so that it is no file of the user."""
    return dataset in task.datasets
