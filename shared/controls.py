"""Characters that are not seen, and what a text of others does with them: move a terminal's cursor, end a line, turn the writing around."""

from __future__ import annotations

import re

# C0 and C1; the ends of lines and paragraphs; marks, embeddings, overrides and isolates of the direction of writing
# (https://www.unicode.org/reports/tr9/); half characters, which nothing can encode.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """The text with such characters written out: `\\x1b`, `\\n`, `\\u202e`.

    Args:
        keep: of them, those that stay as they are.
    """
    return _CONTROLS.sub(lambda found: found.group() if found.group() in keep else repr(found.group())[1:-1], text)
