"""Lines of a log as people read them."""

from __future__ import annotations

import logging
from types import TracebackType

from shared.controls import visible
from shared.masking import masked

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Masked(logging.Formatter):
    """Plain text without secrets, one line a record; a traceback comes indented below it.

    So nothing that a record quotes can pass for a record, or reach the terminal as a command.
    """

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return visible(super().formatMessage(record), keep="\t")

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 (logging's name)
        return _below(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 (logging's name)
        return _below(super().formatStack(stack_info))


def _below(text: str) -> str:
    return "\n".join("    " + visible(line, keep="\t") for line in text.split("\n"))
