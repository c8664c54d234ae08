"""Reads a page of a MediaWiki, such as Wikipedia, as a document: the reference is its lead section, and the text is the rest.

The text comes from the wiki's own API, which turns wikitext into plain text (`prop=extracts` of the extension TextExtracts, which
Wikipedia has). Sections are marked there with `== Title ==`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from shared.addresses import login_of, require_readable
from shared.tasks.base import Document

PAGE_SHAPE = "https://en.wikipedia.org/wiki/TITLE"
MAX_TITLE = 200  # characters of the id of a document
_SCHEMES = ("http://", "https://")
_PAGE = re.compile(r"/wiki/(?:Special:Export/)?(?P<title>[^/].*)", re.DOTALL)
_API = "/w/api.php"
_ASKED = {"action": "query", "format": "json", "formatversion": "2", "prop": "extracts", "explaintext": "1", "redirects": "1"}
_ANSWERS = frozenset({"batchcomplete", "query", "error", "warnings"})  # a key of an answer of the API, which no document has
_HEADING = re.compile(r"^(={2,6})[ \t]*(?P<title>\S.*?)[ \t]*\1[ \t]*$", re.MULTILINE)


def is_address(dataset: str) -> bool:
    """Return whether a data set is named by an address, from where the worker fetches it."""
    return dataset.lower().startswith(_SCHEMES)


def fetched_from(address: str) -> str:
    """Return the address that a worker fetches. For a page of a wiki, this is the plain text of the page.

    Raises:
        ValueError: no worker could fetch it.
    """
    require_readable(address)
    parts = urlsplit(address)
    if not parts.hostname:
        raise ValueError("names no host")
    if login_of(address):
        raise ValueError("has a login, which would be shown with the results; use `fleetmark run` with a file, which it uploads")
    page = _PAGE.fullmatch(parts.path)
    if page is None:
        return address
    if parts.query:
        raise ValueError(f"is a page of a wiki with a query, of which only the current text is read: write {PAGE_SHAPE}")
    title = unquote(page["title"]).replace("_", " ")
    if "|" in title:
        raise ValueError(f"names several pages, and a data set is one: write {PAGE_SHAPE}")
    return f"{parts.scheme}://{parts.netloc}{_API}?{urlencode({**_ASKED, 'titles': title})}"


def answer_in(content: bytes) -> Mapping[str, Any] | None:
    """Return the answer of a wiki's API that a file holds, or None if it holds something else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and _ANSWERS.intersection(found) else None


def documents_of_wiki(answer: Mapping[str, Any]) -> Iterator[Document]:
    """Yield a document for each page of an answer.

    Raises:
        ValueError: the wiki has no such page or does not give its text, or a page has no lead section or nothing else.
    """
    if error := answer.get("error"):
        said = f"{error.get('code')}: {error.get('info')}" if isinstance(error, Mapping) else str(error)
        raise ValueError(f"the wiki refused: {said:.300}")
    query = answer.get("query")
    pages = query.get("pages") if isinstance(query, Mapping) else None
    listed = list(pages.values()) if isinstance(pages, Mapping) else pages  # the first format of the API has a mapping
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"the wiki's answer has no page: name one by {PAGE_SHAPE}")
    for page in listed:
        yield _document(page if isinstance(page, Mapping) else {})


def _document(page: Mapping[str, Any]) -> Document:
    title = str(page.get("title"))
    if page.get("missing", False) is not False or page.get("invalid", False) is not False:
        raise ValueError(f"the wiki has no page {title!r:.300}: check the title, of which upper and lower case count")
    text = page.get("extract")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f"the wiki gives no plain text of the page {title!r:.300}: "
            "it must be an article, and the wiki must have the extension TextExtracts"
        )
    first = _HEADING.search(text)
    lead = text[: first.start()].strip() if first else text.strip()
    article = "\n\n".join(_sections(text[first.start() :])) if first else ""
    if not lead or not article:
        lacking = "a lead section, which is the reference" if not lead else "a text after its lead section, which would be summarized"
        raise ValueError(f"the page {title!r:.300} has not {lacking}: name another page")
    return Document(title[:MAX_TITLE], f"{title}\n\n{article}", (lead,))


def _sections(text: str) -> Iterator[str]:
    """Yield each section with its title, without those that have no text, such as a list of references."""
    headings = list(_HEADING.finditer(text))
    ends = [*(one.start() for one in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=True):
        if body := text[heading.end() : end].strip():
            yield f"{heading['title']}\n{body}"
