"""Tests that a page of a wiki is a document whose reference is its lead section, and that everything else is a clear error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.tasks.base import Document
from shared.tasks.datasets import MAX_DOCUMENT, read_dataset
from shared.tasks.wiki import fetched_from, is_address

LEAD = "Redis is a store of values.\nIt keeps them in memory."
TEXT = (
    f"{LEAD}\n\n\n== History ==\nIt began in 2009.\n\n\n=== Name ===\nThe name is short; 1 == 1.\n\n\n== See also ==\n\n\n== References =="
)
PAGE = {"pageid": 1, "ns": 0, "title": "Redis", "extract": TEXT}


def read(folder: Path, answer: Any) -> list[Document]:
    file = folder / "answer"
    file.write_bytes(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    return read_dataset(file)


def of_page(**changes: Any) -> dict[str, Any]:
    return {"batchcomplete": True, "query": {"pages": [{**PAGE, **changes}]}}


def test_the_lead_section_is_the_reference_and_the_rest_is_the_text(tmp_path: Path) -> None:
    text = "Redis\n\nHistory\nIt began in 2009.\n\nName\nThe name is short; 1 == 1."
    assert read(tmp_path, of_page()) == [Document("Redis", text, (LEAD,))]
    first_format = {"query": {"pages": {"1": PAGE}}}
    assert read(tmp_path, first_format) == [Document("Redis", text, (LEAD,))]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": {"code": "badvalue", "info": "Unrecognized value"}}, "the wiki refused: badvalue: Unrecognized value"),
        ({"batchcomplete": True}, "the wiki's answer has no page"),
        ({"query": {"pages": [{"ns": 0, "title": "Nothing", "missing": True}]}}, "the wiki has no page 'Nothing'"),
        ({"query": {"pages": {"-1": {"title": "Nothing", "missing": ""}}}}, "the wiki has no page 'Nothing'"),
        ({"query": {"pages": [{"title": "a<b", "invalid": True}]}}, "the wiki has no page 'a<b'"),
        ({"warnings": {}, "query": {"pages": [{"title": "Redis"}]}}, "the wiki must have the extension TextExtracts"),
        ({"query": {"pages": [7]}}, "the wiki gives no plain text"),
        (of_page(extract=LEAD), "has not a text after its lead section, which would be summarized"),
        (of_page(extract=LEAD + "\n== See also =="), "has not a text after its lead section"),
        (of_page(extract="== History ==\nIt began."), "has not a lead section, which is the reference"),
        (of_page(extract=TEXT.replace("It began", "x" * MAX_DOCUMENT)), "the page 'Redis' has 1000057 characters"),
        (b'<mediawiki xmlns="x"><page/></mediawiki>', "dump of a wiki in XML, and a data set has a document in each line: write its texts"),
        (b'<?xml version="1.0"?>\n<mediawiki>', "it is a dump of a wiki in XML"),
        (b"\n<!DOCTYPE html>", "it is HTML or XML, and a data set has a document in each line: write its texts as lines such as {"),
        (b"\n<!DOCTYPE html>", "or name one page of a wiki by its address, such as https://en.wikipedia.org/wiki/TITLE"),
    ],
)
def test_what_is_no_article_says_why(tmp_path: Path, answer: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read(tmp_path, answer)


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("https://en.wikipedia.org/wiki/Alan_Turing", "Alan Turing"),
        ("https://de.wikipedia.org/wiki/K%C3%B6ln#Geschichte", "Köln"),
        ("https://en.wikipedia.org/wiki/Special:Export/AC/DC", "AC/DC"),
        ("http://127.0.0.1:8080/wiki/A%26B", "A&B"),
    ],
)
def test_a_page_is_fetched_as_plain_text_from_the_api_of_its_wiki(address: str, title: str) -> None:
    asked, page = urlsplit(fetched_from(address)), urlsplit(address)
    assert (asked.scheme, asked.netloc, asked.path) == (page.scheme, page.netloc, "/w/api.php")
    query = parse_qs(asked.query, strict_parsing=True)
    assert query["titles"] == [title]
    assert (query["prop"], query["explaintext"], query["redirects"], query["formatversion"]) == (["extracts"], ["1"], ["1"], ["2"])


def test_any_other_address_is_fetched_as_it_is() -> None:
    for address in ("https://data.example/set.jsonl?version=2", "https://wiki.example/api.php?action=query&titles=A", "https://x/wiki/"):
        assert is_address(address)
        assert fetched_from(address) == address
    assert not any(map(is_address, ("my.jsonl", "aclsum", f"sha256:{'0' * 64}", "hf://org/data", "file:///x")))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://", "names no host"),
        ("https://a b/wiki/X", "cannot be read as an address"),
        ("https://user:SECRET@x/set.jsonl", "has a login, which would be shown"),
        ("https://en.wikipedia.org/wiki/Redis?oldid=5", "of which only the current text is read"),
        ("https://en.wikipedia.org/wiki/A%7CB", "names several pages"),
    ],
)
def test_an_address_that_cannot_be_fetched_says_why(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        fetched_from(address)
    assert "SECRET" not in str(refusal.value)
