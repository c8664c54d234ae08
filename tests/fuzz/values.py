"""Generates JSON values that often cause faults in programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(max_size=30) | st.sampled_from(
    [
        "",
        "\x00",
        "\r",
        "\n",
        "=1+1",
        "+1",
        "-",
        "@",
        "\t",
        "'",
        '"',
        ",",
        ";",
        "\ufeff",
        "\u2028",
        "\U0001f4a5",
        "a" * 300,
        "../../etc",
        "nan",
    ]
)
# this is too large for a float. `written` writes a number of 5 000 digits in its place, which Python itself would refuse to print
LONG = 10**400
HUGE = st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, LONG])
NUMBERS: st.SearchStrategy[Any] = st.integers() | st.floats() | HUGE
SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | NUMBERS | TEXTS
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4), max_leaves=10
)


def written(content: Any) -> str:
    """Return JSON as a hostile client would write it, with numbers of any length, NaN and infinities."""
    if isinstance(content, bool) or content is None or isinstance(content, str):
        return json.dumps(content)
    if isinstance(content, int):
        return "9" * 5_000 if content == LONG else str(content)
    if isinstance(content, float):
        return "1e999" if content == math.inf else json.dumps(content)
    if isinstance(content, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{written(value)}" for key, value in content.items()) + "}"
    return "[" + ",".join(map(written, content)) + "]"


def put(content: Any, place: Sequence[Any], value: Any) -> Any:
    """Return a copy of nested mappings and lists in which `value` is at `place`."""
    if not place:
        return value
    copied: Any = dict(content) if isinstance(content, dict) else list(content)
    copied[place[0]] = put(copied[place[0]], place[1:], value)
    return copied


@st.composite
def places(draw: st.DrawFn, content: Any) -> list[Any]:
    """Draw the path of some place in nested mappings and lists. A deep place is not more likely than one near the top."""
    path: list[Any] = []
    while isinstance(content, dict | list) and content and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(content) if isinstance(content, dict) else range(len(content))))
        path.append(name)
        content = content[name]
    return path


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[Any]) -> Any:
    """Draw valid content in which one to three places are replaced by any JSON value."""
    content = draw(contents)
    for _ in range(draw(st.integers(1, 3))):
        content = put(content, draw(places(content)), draw(JSON))
    return content
