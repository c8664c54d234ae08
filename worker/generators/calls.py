"""Contains the two kinds of calls of a job of a language model: with random prompts of one length, and with the documents of a task.

Each says what it prepares, which series it records, and what is derived from its records in another way than for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import written_texts
from shared.errors import ModelInvalid
from shared.series import Record, Unit
from worker.generators.base import Clock, Generator
from worker.generators.passes import Passes, Shape, draw_prompts
from worker.generators.task_passes import TaskPasses
from worker.generators.task_work import digest, task_work
from worker.measured.request import RunRequest

# Keys of a record's facts.
STAGES, FIRST_TOKEN, SHAPE, PEAK_GPU, TASK, DIGESTS, OUTPUTS = (
    *("stages_ns", "first_token_ns", "shape", "peak_gpu_mb", "task"),
    *("digests", "outputs"),
)


class PromptCalls:
    """Makes calls with random prompts of one length, which write an exact number of tokens."""

    of_one_length = True  # whether every call reads and writes as many tokens as every other
    series: Mapping[str, Unit] = dict.fromkeys(("warmup", "warmup_prefill", "streamed", "tokens", "plain", "prefill"), "ns")

    def __init__(self, request: RunRequest, generator: Generator, clock: Clock) -> None:
        self._shape = shape = _shape(request)
        _refuse_too_long(shape, generator.longest())
        prompts = draw_prompts(shape, generator.vocabulary(), _seed(request))
        generator.prepare(prompts)
        self._distinct = len(prompts)
        self.passes: Passes | TaskPasses = Passes(generator, shape, len(prompts), clock)

    def facts(self) -> dict[str, Any]:
        return {SHAPE: self._shape.as_json()}

    def runtime(self) -> dict[str, Any]:
        return {"batch_size": self._shape.batch_size, "distinct_prompts": self._distinct}

    @staticmethod
    def tokens(record: Record) -> int:
        """Return how many tokens the plain pass wrote."""
        shape = record.facts[SHAPE]
        return len(record.series["plain"].values) * int(shape["batch_size"]) * int(shape["output_tokens"])

    @staticmethod
    def files(record: Record) -> Mapping[str, bytes]:
        """Return the files that go with the result."""
        del record
        return {}


class TaskCalls:
    """Makes a call for each document of a task."""

    of_one_length = False
    series: Mapping[str, Unit] = {
        **dict.fromkeys(("warmup", "streamed", "tokens", "plain"), "ns"),
        **dict.fromkeys(("counts", "plain_counts"), "count"),
    }

    def __init__(self, request: RunRequest, generator: Generator, clock: Clock) -> None:
        dataset = request.input("dataset") if "dataset" in request.inputs else None
        self._work = task_work(request.spec["task"], _seed(request), dataset, generator)
        generator.prepare([[one] for one in self._work.ids])
        self._generator, self._is_first = generator, request.repeat == 0
        self.passes: Passes | TaskPasses = TaskPasses(generator, self._work.ending, len(self._work.ids), clock)

    def facts(self) -> dict[str, Any]:
        assert isinstance(self.passes, TaskPasses)
        written = self.passes.written
        facts: dict[str, Any] = {TASK: self._work.facts(written), DIGESTS: [digest(written[number]) for number in range(len(written))]}
        return facts | ({OUTPUTS: self._work.outputs(written, self._generator)} if self._is_first else {})

    def runtime(self) -> dict[str, Any]:
        return {"batch_size": 1, "documents": len(self._work.ids)}

    @staticmethod
    def tokens(record: Record) -> int:
        """Return how many tokens the plain pass wrote."""
        return sum(record.series["plain_counts"].values)

    @staticmethod
    def files(record: Record) -> Mapping[str, bytes]:
        """Return the file with the answers. The record is that of the first repeat."""
        return {written_texts.NAME: written_texts.lines_of(record.facts[OUTPUTS])}


def calls_of(record: Record) -> type[PromptCalls] | type[TaskCalls]:
    """Return which calls a record came from."""
    return TaskCalls if TASK in record.facts else PromptCalls


def _seed(request: RunRequest) -> int:
    return int(request.spec["options"].get("seed") or 0)


def _shape(request: RunRequest) -> Shape:
    prompts = request.spec["prompts"]
    batch = request.spec["options"].get("batch_size") or 1
    return Shape(batch, prompts["input_tokens"], prompts["output_tokens"], prompts["requests"])


def _refuse_too_long(shape: Shape, longest: int | None) -> None:
    wanted = shape.input_tokens + shape.output_tokens
    if longest is not None and wanted > longest:
        raise ModelInvalid(
            f"prompts.input_tokens {shape.input_tokens} and prompts.output_tokens {shape.output_tokens} are {wanted} tokens together, "
            f"and this model takes {longest}: ask for fewer"
        )
