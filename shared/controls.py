"""Makes invisible characters visible.

Text from outside can use them to move a terminal's cursor, to end a line or to reverse the direction of writing.
"""

from __future__ import annotations

import re

# The control characters C0 and C1, line and paragraph separators, the marks, embeddings, overrides and isolates that change the direction
# of writing (https://www.unicode.org/reports/tr9/), and lone surrogates, which cannot be encoded as UTF-8.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """Return the text with its invisible characters written as escapes: `\\x1b`, `\\n`, `\\u202e`.

    Args:
        keep: invisible characters that stay as they are.
    """
    return _CONTROLS.sub(lambda found: found.group() if found.group() in keep else repr(found.group())[1:-1], text)
