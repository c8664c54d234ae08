"""Lists what must be equal before two jobs may be compared, and what is only worth a warning if it differs.

Facts are what the measured process reported, not what was asked for. A fact that a result does not have (a worker of an earlier version
measured it) is None. Nothing is assumed in its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.rows import provider_of, threads_of
from orchestrator.reports.same_work import Work
from shared.workloads import inference_of

LONGEST = 200  # characters of a fact; a language model has hundreds of inputs
SHORT_HASH = 8

Runtime = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fact:
    """Describes one fact: its name in reasons and in `--allow-different`, its meaning, and the way to read it from a job."""

    name: str
    meaning: str
    read: Callable[[JobRecord, Work], str | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """Says that a fact differs between the two sides of a pair. A side that does not know it has None."""

    fact: str
    baseline: str | None
    current: str | None


def facts_of(job: JobRecord, work: Work, facts: tuple[Fact, ...]) -> dict[str, str | None]:
    """Return these facts of a job that did this work."""
    return {fact.name: _short(fact.read(job, work)) for fact in facts}


def differences(baseline: Mapping[str, str | None], current: Mapping[str, str | None]) -> tuple[Difference, ...]:
    """Return the facts that differ, or that a side does not know."""
    return tuple(
        Difference(name, baseline[name], current[name]) for name in baseline if baseline[name] is None or baseline[name] != current[name]
    )


def said(difference: Difference) -> str:
    """Return a difference in words for people."""
    unknown = [side for side, value in (("BASE", difference.baseline), ("NEW", difference.current)) if value is None]
    if unknown:
        return f"{difference.fact} is not recorded in {' and '.join(unknown)}"
    return f"{difference.fact} ({_shown(difference.baseline)} in BASE, {_shown(difference.current)} in NEW)"


def _shown(value: str | None) -> str:
    text = str(value)
    whole_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:SHORT_HASH] if whole_hash else text


def _short(text: str | None) -> str | None:
    """Return a fact that is no longer than `LONGEST`. A longer one is replaced by its beginning and its hash, so that two are distinct."""
    if text is None or len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 20]}… (sha256 {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:SHORT_HASH]})"


def _runtime(job: JobRecord) -> Runtime:
    return job.result.runtime if job.result is not None else {}


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _inputs(job: JobRecord, work: Work, part: Callable[[Any], str]) -> str | None:
    """Return one part of every input. None if the result does not list the inputs, or lacks this part of one."""
    if not isinstance(_runtime(job).get("inputs"), list):
        return None
    parts = [(one.name, part(one)) for one in work.inputs]
    return "; ".join(f"{name} {value}" for name, value in parts) or "no inputs" if all(value for _, value in parts) else None


def _batch(job: JobRecord, work: Work) -> str | None:
    if work.batch is not None:
        return str(work.batch)
    return "none" if "batch_size" in _runtime(job) else None


def _options(job: JobRecord, work: Work) -> str | None:
    if job.unreadable:
        return None
    return "; ".join(f"{name}={text}" for name, text in work.question) or "none"


def _between(job: JobRecord, _work: Work) -> str | None:
    threads = _runtime(job).get("threads")
    return _text(threads.get("inter_op")) if isinstance(threads, Mapping) else None


def _version(job: JobRecord, _work: Work) -> str | None:
    runtime = _runtime(job)
    version = _text(runtime.get("version"))
    return None if version is None else " ".join(filter(None, (_text(runtime.get("runtime")), version)))


def _device(job: JobRecord, _work: Work) -> str | None:
    return job.result.worker_id if job.result is not None else None


def _of_device(name: str) -> Callable[[JobRecord, Work], str | None]:
    return lambda job, _work: _text(getattr(job.result.device, name)) if job.result is not None else None


def _software(name: str) -> Callable[[JobRecord, Work], str | None]:
    return lambda job, _work: _text(job.result.software.get(name)) if job.result is not None else None


def _of_noise(name: str) -> Callable[[JobRecord, Work], str | None]:
    def read(job: JobRecord, _work: Work) -> str | None:
        noise = job.result.noise if job.result is not None else None
        value = noise.facts.get(name) if noise is not None else None
        return json.dumps(value, sort_keys=True) if isinstance(value, dict) else _text(value)

    return read


def _warmup(job: JobRecord, _work: Work) -> str | None:
    warmup = job.workload.warmup
    return None if job.unreadable else f"{warmup.min_calls} calls and {warmup.min_s:g} s, at most {warmup.max_s:g} s"


MUST_BE_EQUAL: tuple[Fact, ...] = (
    Fact("model", "SHA-256 of the model and its weights", lambda _job, work: work.content or None),
    Fact("inputs", "name and shape of each input, as it was bound", lambda job, work: _inputs(job, work, lambda one: one.shape)),
    Fact("precision", "element type of each input", lambda job, work: _inputs(job, work, lambda one: one.element_type)),
    Fact("values", "SHA-256 of the values of each input", lambda job, work: _inputs(job, work, lambda one: one.values)),
    Fact("batch", "batch size, as it was bound", _batch),
    Fact("options", "options of the recipe that change the question and are none of the other facts", _options),
    Fact("capability", "what ran it, such as `cpu.onnx`", lambda job, _work: job.result.capability if job.result is not None else None),
    Fact("runtime", "the runtime and its version", _version),
    Fact("provider", "execution provider that most of the model ran on", lambda job, _work: provider_of(_runtime(job))),
    Fact("threads", "threads within one operator, as the runtime reports them", lambda job, _work: _text(threads_of(_runtime(job)))),
    Fact("inter_threads", "operators that run at the same time, as the runtime reports them", _between),
    Fact("graph", "how far the runtime optimised the graph", lambda job, _work: _text(_runtime(job).get("graph_level"))),
    Fact("device", "the device, by the id of its worker", _device),
    Fact("processor", "model of the device's processor", _of_device("soc")),
)  # fmt: skip
# These can move a figure, but often differ without moving it. Each is named beside the verdict if both sides know it and it differs.
WORTH_A_WARNING: tuple[Fact, ...] = (
    Fact("fleetmark", "version of our own worker", _software("fleetmark")),
    Fact("python", "version of Python", _software("python")),
    Fact("numpy", "version of numpy", _software("numpy")),
    Fact("build", "how the runtime was built", lambda job, _work: _text(_runtime(job).get("build"))),
    Fact("share", "share of the model's nodes on the provider", lambda job, _work: _text(_runtime(job).get("provider_share"))),
    Fact("system", "operating system", _of_device("os")),
    Fact("memory", "memory of the device", _of_device("ram_gb")),
    Fact("cpus", "processors that the measured process may use", _of_noise("cpus_allowed")),
    Fact("quota", "CPU quota", _of_noise("quota_cores")),
    Fact("steering", "environment variables that steer a runtime", _of_noise("steering")),
    Fact("governor", "frequency governor", _of_noise("governor")),
    Fact(
        "inferences", "inferences in each repeat", lambda job, _work: None if job.unreadable else str(inference_of(job.workload).inferences)
    ),
    Fact("warm-up", "warm-up of each repeat", _warmup),
)
