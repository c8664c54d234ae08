"""Configures the site that `make docs-site` builds with Sphinx: the same Markdown files that are read on GitHub."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

project = "Fleetmark"
author = "the authors of Fleetmark"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser"]
include_patterns = ["docs/*.md", "docs/**/*.md", "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".venv*", "build", "dist", "outputs", "tests"]  # folders that need not be looked into
root_doc = "docs/index"
myst_heading_anchors = 4  # links such as results.md#noise lead to headings, as on GitHub
# Templates in our recipes and examples are no Jinja, and a code block in an unknown language is shown as it is.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "Fleetmark"
html_show_sphinx = False
html_copy_source = False

# The tree at the side. The Markdown files do not contain it, because GitHub would show it as text. A page that no entry names is an error.
NAVIGATION: dict[str, list[str]] = {
    "Start": ["README", "docs/start/first-campaign", "docs/start/own-model"],
    "How to": ["docs/how-to/*", *sorted(f"docs/{page.stem}" for page in (ROOT / "docs").glob("*.md") if page.stem != "index")],
    "Reference": [
        *(f"docs/reference/{name}" for name in ("recipes", "results", "figures", "cli", "api", "roles", "configuration")),
        "CHANGELOG",
    ],
    "Why": [
        *("docs/why/measurement", "docs/why/load", "docs/why/architecture", "docs/why/reliability", "docs/why/reliability-worker"),
        *("SECURITY", "docs/why/broker-security", "docs/why/untrusted-input", "docs/decisions/README"),
        *("docs/why/benchmarks", "docs/why/chaos", "docs/why/fuzzing", "CONTRIBUTING"),
    ],
}


def add_navigation(_app: Any, name: str, content: list[str]) -> None:
    """Add the tree of pages to the first page, and the list of decisions to theirs."""
    if name == root_doc:
        for caption, pages in NAVIGATION.items():
            content[0] += _tree(caption, [f"/{page}" for page in pages])
    elif name == "docs/decisions/README":
        content[0] += _tree("", ["0*"])


def _tree(caption: str, pages: list[str]) -> str:
    options = [":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
    return "\n\n```{toctree}\n" + "\n".join([*options, "", *pages]) + "\n```\n"


def setup(app: Any) -> None:
    app.connect("source-read", add_navigation)
