"""Reads what a runtime reports about itself. Workers of all versions are understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def provider_of(runtime: Mapping[str, Any]) -> str | None:
    """Return the execution provider that most of the model ran on, or None if the runtime did not report it."""
    named = runtime.get("provider")
    if isinstance(named, str):
        return named or None
    listed = runtime.get("providers")  # older workers send a list; with several providers, it is not known which one did the work
    return str(listed[0]) if isinstance(listed, list) and len(listed) == 1 else None


def threads_of(runtime: Mapping[str, Any]) -> int | None:
    """Return how many threads worked within one operator, or None if the runtime did not report it."""
    threads = runtime.get("threads")
    if isinstance(threads, dict):
        return whole_number(threads.get("intra_op")) or None
    return whole_number(runtime.get("intra_op_threads")) or None  # from older workers, where 0 means "the runtime's choice"


def warnings_of(runtime: Mapping[str, Any]) -> list[str]:
    """Return the warnings of the worker, for example that a free dimension of an image became 1."""
    warnings = runtime.get("warnings")
    return [str(one) for one in warnings] if isinstance(warnings, list) else []


def whole_number(value: Any) -> int | None:
    """Return a number that a column of whole numbers can hold, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None
