"""Makes invisible characters visible, or replaces them.

Text from outside can use them to move a terminal's cursor, to end a line or to reverse the direction of writing.
"""

from __future__ import annotations

import re

# These are the control characters C0 and C1, line and paragraph separators, the marks, embeddings, overrides and isolates that change the
# direction of writing (https://www.unicode.org/reports/tr9/), and lone surrogates, which cannot be encoded as UTF-8.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_ONE_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """Return the text with its invisible characters written as escapes: `\\x1b`, `\\n`, `\\u202e`.

    Args:
        keep: invisible characters that stay as they are.
    """
    return _CONTROLS.sub(lambda found: found.group() if found.group() in keep else repr(found.group())[1:-1], text)


def as_one_line(text: str) -> str:
    """Return a file name in a form that can be displayed and sent.

    File systems allow control characters in a name, and bytes that are not valid text (Python reads these as lone surrogates). Each of
    them is replaced by U+FFFD, the replacement character.
    """
    return _NOT_ONE_LINE.sub("\ufffd", text)
