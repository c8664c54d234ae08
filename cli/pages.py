"""Makes one HTML file of a Markdown page and its pictures, which can be opened or sent without anything else."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable

from markdown_it import MarkdownIt

Picture = Callable[[str], bytes | None]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; display: block; overflow-x: auto; } th, td { padding: .25rem .75rem; border-bottom: 1px solid #ccc; }
pre { background: #f4f4f4; padding: .75rem; overflow-x: auto; } code { background: #f4f4f4; } img { max-width: 100%; }
"""


def html_page(markdown: str, title: str, picture: Picture) -> str:
    """Return a whole HTML page.

    HTML inside the Markdown is shown as text, and the page loads nothing from anywhere: its pictures are in it.

    Args:
        picture: returns the bytes of a PNG by its path in the page, or None if there is none.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(markdown)
    for token in tokens:
        for child in token.children or ():
            if child.type == "image":
                content = picture(str(child.attrs["src"]))
                child.attrs["src"] = f"data:image/png;base64,{base64.b64encode(content).decode()}" if content is not None else ""
    body = reader.renderer.render(tokens, reader.options, {})
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
