"""Checks names that people choose. Names appear in tables, logs, terminals and files, so a name must be one line of text."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

# Accepts texts without control characters (which can move a terminal's cursor) and without characters that end a line.
PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _one_line(text: str) -> str:
    found = _UNWANTED.search(text)
    if found is not None:
        raise ValueError(f"holds the control character {found.group()!r}; a name is one line of text without any")
    return text


OneLine = Annotated[str, AfterValidator(_one_line), Field(json_schema_extra={"pattern": PATTERN})]
