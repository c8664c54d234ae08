"""Decides which jobs processed the same samples. Only such jobs may be compared by their samples per second.

This is `same_work` without the batch: a call with 8 images and 8 calls with one image each process the same samples. Everything else of the
work must be equal: the bytes of the model, the shape and type of each input without its batch, and how its values were made.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.reports.bundle import JobRecord
from orchestrator.reports.inferences.same_work import BoundInput, Work
from shared.workloads import inference_of

BATCH = "batch"  # stands for the size of the batch in the shape of a sample
_NAME = re.compile(r"[^\W\d]\w*")


def samples_of(job: JobRecord, work: Work) -> Work:
    """Return the work of a job without its batch. Jobs with equal results processed the same samples.

    The values of an input with a batch depend on its size, so for such an input the result holds the values that the recipe states, and
    the seed, in place of the hash of the values.

    Args:
        work: the work of the job, as `same_work.work_of` gives it.
    """
    runtime: Mapping[str, Any] = job.result.runtime if job.result is not None else {}
    if work.batch is None:
        return work
    options = inference_of(job.workload).options
    declared = {str(one.get("name")): one for one in runtime.get("inputs") or () if isinstance(one, Mapping)}
    stated = options.values or {}

    def without_batch(one: BoundInput) -> BoundInput:
        shape = _sample_shape(declared.get(one.name, {}), work.batch, runtime.get("batch_symbol"))
        if shape is None:
            return one
        made = json.dumps([options.seed, _plain(stated.get(one.name))], sort_keys=True)
        return replace(one, shape=shape, values=hashlib.sha256(made.encode()).hexdigest())

    asked = tuple((name, text) for name, text in work.asked if name != "batch_size")
    return replace(work, batch=None, inputs=tuple(map(without_batch, work.inputs)), asked=asked)


def _sample_shape(one: Mapping[str, Any], batch: int | None, symbol: Any) -> str | None:
    """Return the shape of an input with `BATCH` in place of the batch, or None if the input has no batch."""
    bound, said = one.get("bound_shape"), one.get("shape")
    if not isinstance(bound, list | tuple) or not bound:
        return None
    declared: Sequence[Any] = said if isinstance(said, list | tuple) and len(said) == len(bound) else [None] * len(bound)
    parts = [_part(axis, *pair, batch, symbol) for axis, pair in enumerate(zip(declared, bound, strict=True))]
    return "×".join(parts) if parts != list(map(str, bound)) else None


def _part(axis: int, said: Any, size: Any, batch: int | None, symbol: Any) -> str:
    """Return how a dimension is written in the shape of a sample.

    Args:
        said: the dimension as the model states it: a number, a symbol, or None.
        symbol: the symbol of the batch. Without one, and in results of older workers, the batch is the leading dimension of its size.
    """
    if isinstance(said, int) and said >= 0:
        return str(size)
    if isinstance(symbol, str) and symbol:
        grows = isinstance(said, str) and symbol in _NAME.findall(said)
        return (BATCH if said == symbol else str(said)) if grows else str(size)  # `batch * heads` grows with the batch
    return BATCH if axis == 0 and size == batch else str(size)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
