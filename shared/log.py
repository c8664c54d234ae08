"""Formats log records as text without secrets and control characters."""

from __future__ import annotations

import logging
from types import TracebackType

from shared.controls import visible
from shared.masking import masked

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Masked(logging.Formatter):
    """Formats each record as one line of text without secrets. A traceback follows on indented lines.

    So text that a record quotes cannot look like another record, and cannot send control sequences to the terminal.
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
