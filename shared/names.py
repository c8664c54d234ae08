"""Names that people give. They are shown in tables, logs, terminals and files, so a name is one line of text."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

# Control characters, among them what moves a terminal's cursor, and the characters that end a line.
PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _one_line(text: str) -> str:
    found = _UNWANTED.search(text)
    if found is not None:
        raise ValueError(f"holds the control character {found.group()!r}; a name is one line of text without any")
    return text


def as_one_line(text: str) -> str:
    """Returns the name of a file as it can be shown and sent.

    File systems allow control characters in a name, and bytes that are no text (Python reads those as lone surrogates). Each of them
    becomes U+FFFD, the replacement character.
    """
    return _UNSENDABLE.sub("\ufffd", text)


OneLine = Annotated[str, AfterValidator(_one_line), Field(json_schema_extra={"pattern": PATTERN})]
