"""Parses the source of a model, by which a recipe names it: a URL, a path, or the SHA-256 of an upload.

These functions do not use disk or network. Orchestrator, worker and command line all use them, so a source means the same everywhere.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import url2pathname

from shared.addresses import shown_address
from shared.controls import as_one_line
from shared.ids import SHA256

MAX_NAME = 255  # characters; file systems allow names of at most 255 bytes, so every file name fits
UPLOAD = "sha256:"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE_URL = re.compile(r"file:", re.IGNORECASE)


def model_name(source: str) -> str:
    """Return the file name that reports show for a source.

    It is the last part of the path or URL. A query is removed from a URL, and percent-encoding such as `%20` is decoded. A name of more
    than `MAX_NAME` characters is shortened; see `short_name`.
    """
    if source.startswith(UPLOAD):
        try:
            return upload_of(source)[1] or source
        except ValueError:  # not a valid upload; the code that fetches the model will report this
            return short_name(as_one_line(source))
    if not _URL.match(source) and not _FILE_URL.match(source):
        return short_name(as_one_line(PurePath(source).name or source))
    shown = shown_address(source)
    parts = re.split("[?#]", shown.partition(":")[2].lstrip("/"), maxsplit=1)[0].rstrip("/").split("/")
    written = parts[-1] if source.lower().startswith("hf://") else unquote(parts[-1])  # `hf://` paths are not percent-encoded
    return short_name(as_one_line(written.rstrip("/").rpartition("/")[2] or shown))  # some stores encode the slashes of a path as %2F


def short_name(name: str) -> str:
    """Return a name of at most `MAX_NAME` characters.

    A longer name is cut in its middle, where a digest of the whole name is inserted. So different names stay different, and a name keeps
    its ending.
    """
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{name[: MAX_NAME - 60]}…{digest}…{name[-40:]}"


def file_path(source: str) -> str:
    """Return the path of a `file://` URL in the form of this operating system.

    Raises:
        ValueError: the URL names another host, or contains a `?` or `#`, which would end the path.
    """
    parts = urlsplit(source)
    if parts.netloc.lower() not in ("", "localhost"):
        raise ValueError(
            f"{source} names the host {parts.netloc.rpartition('@')[2]!r}; a file URL of this device has three slashes: file:///path"
        )
    if "?" in source or "#" in source:
        raise ValueError(f"{source} holds a ? or a #, which ends the path of a URL; in a file's name write ? as %3F and # as %23")
    return url2pathname(parts.path)


def upload_of(source: str) -> tuple[str, str | None]:
    """Return SHA-256 and name of an upload from its source `sha256:<hex>` or `sha256:<hex>?name=<name>`. The name may be None.

    Raises:
        ValueError: the source has another form.
    """
    sha256, separator, query = source.removeprefix(UPLOAD).partition("?")
    if SHA256.fullmatch(sha256) is None:
        raise ValueError("a SHA-256 is 64 hexadecimal digits, lower case")
    if not separator:
        return sha256, None
    names = parse_qs(query, keep_blank_values=True, max_num_fields=4) if query.isascii() else {}
    if names.keys() != {"name"} or len(names["name"]) != 1 or not 0 < len(names["name"][0]) <= MAX_NAME:
        raise ValueError(f"what follows the hash is `?name=` and a name of at most {MAX_NAME} characters, percent-encoded")
    return sha256, as_one_line(names["name"][0])


def upload_source(sha256: str, name: str | None = None) -> str:
    """Return the source of an upload; it is the opposite of `upload_of`."""
    return f"{UPLOAD}{sha256}" + (f"?name={quote(name, safe='')}" if name is not None else "")
