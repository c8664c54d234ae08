"""Tests the site that `make docs-site` builds: it is complete, and its pages load nothing from other servers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"([^\"]+)\"|<link\b[^>]*?\bhref=\"([^\"]+)\"")
STYLE = re.compile(r"@import\s+[\"']?([^\"';]+)|url\(\s*[\"']?((?!data:)[^\"')]+)")

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere() -> None:
    built = subprocess.run(["make", "docs-site"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    site = ROOT / "build" / "site"
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        for names in LOADED.findall(page.read_text()):
            target = urlsplit(next(filter(None, names)))
            assert target.scheme + target.netloc == "", (page, target)
            assert (page.parent / unquote(target.path)).exists(), (page, target)
    for style in site.rglob("*.css"):
        for names in STYLE.findall(style.read_text()):
            assert not urlsplit(next(filter(None, names))).netloc, (style, names)
