"""Reads a data set: a file with one JSON object in each line, or with a page of a wiki. Every mistake names its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.tasks.base import Document
from shared.tasks.wiki import PAGE_SHAPE, answer_in, documents_of_wiki

MAX_BYTES = 64 * 2**20  # of a whole file
MAX_DOCUMENT = 1_000_000  # characters; longer than the context of every model that we know
MAX_DOCUMENTS = 10_000
MAX_ID = 200  # characters
_BEGIN = 1_000  # bytes in which a dump of a wiki names its format
SHAPE = '{"id": "a-1", "document": "the text", "summary": "what a good answer says"}'
_REFERENCES = ("summary", "reference", "references")
_KEYS = ("id", "document", "question", *_REFERENCES)


def read_dataset(file: Path) -> list[Document]:
    """Return the documents of a file: lines, or the answer of a wiki's API.

    Raises:
        ValueError: the file is too large, a line of it is not a document, or it has no page of a wiki. The message names the line.
        OSError: the file cannot be read.
    """
    if (size := file.stat().st_size) > MAX_BYTES:
        raise ValueError(f"it has {size} bytes, and a data set has at most {MAX_BYTES}: split it")
    content = file.read_bytes()
    if (begin := content.lstrip()[:_BEGIN]).startswith(b"<"):
        what = "a dump of a wiki in XML" if b"<mediawiki" in begin else "HTML or XML"
        raise ValueError(
            f"it is {what}, and a data set has a document in each line: write its texts as lines such as {SHAPE}, "
            f"or name one page of a wiki by its address, such as {PAGE_SHAPE}"
        )
    if (answer := answer_in(content)) is None:
        return list(documents_of(content))
    found = list(documents_of_wiki(answer))
    if long := next((one for one in found if len(one.text) > MAX_DOCUMENT), None):
        raise ValueError(f"the page {long.id!r} has {len(long.text)} characters, and at most {MAX_DOCUMENT} are allowed: name another page")
    return found


def documents_of(content: bytes) -> Iterator[Document]:
    """Yield the documents in the bytes of a file.

    Raises:
        ValueError: a line is not a document, two have the same id, or there is none. The message names the line.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        document = _document(number, line)
        if (first := seen.setdefault(document.id, number)) != number:
            raise _mistake(number, f"has the id {document.id!r}, which line {first} has already: each document has its own")
        if len(seen) > MAX_DOCUMENTS:
            raise _mistake(number, f"is document {len(seen)}, and a data set has at most {MAX_DOCUMENTS}: split it")
        yield document
    if not seen:
        raise ValueError(f"it has no document: each line is one, such as {SHAPE}")


def _document(number: int, line: bytes) -> Document:
    try:
        found = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise _mistake(number, f"is not text in UTF-8: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise _mistake(number, f"is not JSON ({error}): each line is one document, such as {SHAPE}") from error
    if not isinstance(found, dict):
        raise _mistake(number, f"is {type(found).__name__}, not an object: each line is one document, such as {SHAPE}")
    if unknown := next((key for key in found if key not in _KEYS), None):
        raise _mistake(number, f"has the key {unknown!r:.60}, which means nothing here; a document has {', '.join(_KEYS)}")
    text = _text(number, found, "document")
    if not text.strip():
        raise _mistake(number, "has an empty document: leave the line out")
    if len(text) > MAX_DOCUMENT:
        raise _mistake(number, f"has a document of {len(text)} characters, and at most {MAX_DOCUMENT} are allowed: shorten it")
    name = found.get("id", str(number))
    if not isinstance(name, str | int) or isinstance(name, bool) or not 0 < len(str(name)) <= MAX_ID:
        raise _mistake(number, f"has the id {name!r:.60}: an id is a text of at most {MAX_ID} characters, or a number")
    return Document(str(name), text, _references(number, found), _text(number, found, "question", needed=False))


def _mistake(number: int, what: str) -> ValueError:
    return ValueError(f"line {number} {what}")


def _text(number: int, found: dict[str, Any], key: str, *, needed: bool = True) -> str:
    value = found.get(key)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        what = f"has no {key!r}" if key not in found else f"has a {key!r} that is {type(value).__name__}, not a text"
        raise _mistake(number, f"{what}: each line is one document, such as {SHAPE}")
    if any("\ud800" <= one <= "\udfff" for one in value):  # JSON can write half of a character
        raise _mistake(number, f"has a {key!r} with half of a character (\\ud800 to \\udfff), which is no text: remove it")
    return value


def _references(number: int, found: dict[str, Any]) -> tuple[str, ...]:
    given = [key for key in _REFERENCES if key in found]
    if len(given) > 1:
        raise _mistake(number, f"has {' and '.join(given)}: write one of them; `references` is a list of several")
    if not given:
        return ()
    if given == ["references"]:
        several = found["references"]
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            raise _mistake(number, "has `references` that is not a list of texts")
        return tuple(_text(number, {"references": one}, "references") for one in several)
    return (_text(number, found, given[0]),)
