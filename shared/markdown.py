"""Writes text from outside into Markdown."""

from __future__ import annotations

from shared.controls import visible

_MARKUP = "\\|<>[]*_`#!"
_AS_ENTITY = {"<": "&lt;", ">": "&gt;"}


def cell(text: str, longest: int = 200) -> str:
    """Return untrusted text as one line of Markdown. It is escaped, so that it cannot make a table, HTML or a link."""
    flat = visible(" ".join(text.split()))
    flat = flat if len(flat) <= longest else flat[: longest - 1] + "…"
    for character in _MARKUP:
        flat = flat.replace(character, _AS_ENTITY.get(character, "\\" + character))
    return flat
