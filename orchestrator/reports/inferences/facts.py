"""Lists the facts that must be equal before two inferences may be compared, and those that are only worth a warning if they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.facts import (
    CAPABILITY,
    DEVICE,
    OF_MACHINE,
    OF_SOFTWARE,
    PROCESSOR,
    WARMUP,
    Fact,
    fact_text,
    runtime_of,
)
from orchestrator.reports.inferences.same_work import Work
from orchestrator.reports.runtimes import provider_of, threads_of
from shared.workloads import inference_of


def _inputs(job: JobRecord, work: Work, part: Callable[[Any], str]) -> str | None:
    """Return one part of every input. None if the result does not list the inputs, or lacks this part of one."""
    if not isinstance(runtime_of(job).get("inputs"), list):
        return None
    parts = [(one.name, part(one)) for one in work.inputs]
    return "; ".join(f"{name} {value}" for name, value in parts) or "no inputs" if all(value for _, value in parts) else None


def _batch(job: JobRecord, work: Work) -> str | None:
    if work.batch is not None:
        return str(work.batch)
    return "none" if "batch_size" in runtime_of(job) else None


def _options(job: JobRecord, work: Work) -> str | None:
    if job.unreadable:
        return None
    return "; ".join(f"{name}={text}" for name, text in work.question) or "none"


def _within(job: JobRecord, _work: Work) -> str | None:
    """Return the threads within one operator: their number, or the words of a runtime that lets nobody choose or count them."""
    threads = runtime_of(job).get("threads")
    return threads if isinstance(threads, str) else fact_text(threads_of(runtime_of(job)))


def _between(job: JobRecord, _work: Work) -> str | None:
    threads = runtime_of(job).get("threads")
    if isinstance(threads, str):
        return threads
    return fact_text(threads.get("inter_op")) if isinstance(threads, Mapping) else None


def _version(job: JobRecord, _work: Work) -> str | None:
    runtime = runtime_of(job)
    version = fact_text(runtime.get("version"))
    return None if version is None else " ".join(filter(None, (fact_text(runtime.get("runtime")), version)))


def _inferences(job: JobRecord, _work: Work) -> str | None:
    return None if job.unreadable else str(inference_of(job.workload).inferences)


MUST_BE_EQUAL: tuple[Fact, ...] = (
    Fact("model", "SHA-256 of the model and its weights", lambda _job, work: work.content or None),
    Fact("inputs", "name and shape of each input, as it was bound", lambda job, work: _inputs(job, work, lambda one: one.shape)),
    Fact("precision", "element type of each input", lambda job, work: _inputs(job, work, lambda one: one.element_type)),
    Fact("values", "SHA-256 of the values of each input", lambda job, work: _inputs(job, work, lambda one: one.values)),
    Fact("batch", "batch size, as it was bound", _batch),
    Fact("options", "options of the recipe that change the question and are none of the other facts", _options),
    CAPABILITY,
    Fact("runtime", "the runtime and its version", _version),
    Fact("provider", "execution provider that most of the model ran on", lambda job, _work: provider_of(runtime_of(job))),
    Fact("threads", "threads within one operator, as the runtime reports them", _within),
    Fact("inter_threads", "operators that run at the same time, as the runtime reports them", _between),
    Fact("graph", "how far the runtime optimised the graph", lambda job, _work: fact_text(runtime_of(job).get("graph_level"))),
    DEVICE,
    PROCESSOR,
)  # fmt: skip
WORTH_A_WARNING: tuple[Fact, ...] = (
    *OF_SOFTWARE,
    Fact("build", "how the runtime was built", lambda job, _work: fact_text(runtime_of(job).get("build"))),
    Fact("share", "share of the model's nodes on the provider", lambda job, _work: fact_text(runtime_of(job).get("provider_share"))),
    *OF_MACHINE,
    Fact("inferences", "inferences in each repeat", _inferences),
    WARMUP,
)
# These facts distinguish jobs of the same work, without the device, and say how long a job measures.
ANSWERS = ("threads", "inter_threads", "graph", "provider")
LENGTH = ("inferences", "warm-up")
