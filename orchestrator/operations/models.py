"""Models: from the name in a recipe to something that a worker can fetch and verify."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store import results
from orchestrator.store.tables import ModelFile
from shared.addresses import login_of, require_readable, shown_address
from shared.errors import FieldError, InvalidInput, NotFound, TooLarge, nearest
from shared.hub import HubFile
from shared.ids import SHA256
from shared.recipes import ModelEntry
from shared.recipes.parse import model_name
from shared.workloads import Companion, ModelRef

SCHEMES = ("http", "https", "file", "hf")
SUFFIXES = ("", ".onnx")
CHUNK = 2**20
UNFINISHED = ".part-"


def resolve_model(ctx: Context, entry: ModelEntry) -> ModelRef:
    """What a worker fetches for a model of a recipe.

    `http(s)://`, `hf://` and `file://` (a path on the worker's disk) go to the worker as they are; `sha256:<hex>` must have been
    uploaded; a plain name is looked up among the files of `<recipes_dir>/models` and taken in.

    Raises:
        InvalidInput: it is none of these; the message says which are accepted.
    """
    source = entry.model
    name = entry.name or model_name(source)
    scheme, separator, rest = source.partition(":")
    companions = tuple(getattr(entry, "companions", ()) or ())
    if separator and scheme == "sha256":
        return _uploaded(ctx, rest, entry.name, companions)
    if "://" in source:
        if scheme.lower() not in SCHEMES:
            raise _invalid(source, f"the scheme {scheme!r} is not fetched; use {', '.join(f'{known}://' for known in SCHEMES)}")
        try:
            require_readable(source)
        except ValueError as error:
            raise _invalid(source, f"it is no URL: it {error}") from None
        if scheme.lower() in ("file", "hf") and login_of(source):
            raise _invalid(source, f"{scheme}:// has no login")
        if scheme.lower() == "hf":
            try:
                HubFile.parse(source)
            except ValueError as error:
                raise _invalid(source, str(error)) from error
        elif scheme.lower() != "file" and not urlsplit(source).hostname:
            raise _invalid(source, "it names no host")
        if scheme.lower() == "file" and source.endswith("/"):
            raise _invalid(source, "it is a directory; name the model's file")
        return ModelRef(source=source, name=name)
    return _by_name(ctx, source, entry.name)


def _invalid(source: str, why: str) -> InvalidInput:
    message = f"model {shown_address(source)!r}: {why}"
    return InvalidInput(message, fields=[FieldError("model", message)])


def _uploaded(ctx: Context, sha256: str, name: str | None, companions: tuple[Companion, ...]) -> ModelRef:
    if SHA256.fullmatch(sha256) is None:
        raise _invalid(f"sha256:{sha256}", "a SHA-256 is 64 hexadecimal digits, lower case")
    try:
        with ctx.store.read() as session:
            found = results.model(session, sha256)
            for content in (sha256, *(companion.sha256 for companion in companions)):
                if not path_of(ctx, results.model(session, content).sha256).is_file():
                    raise NotFound(f"the file of the uploaded model {content} is gone; POST /api/models takes it again")
            return ModelRef(source=f"sha256:{sha256}", name=name or found.name, sha256=sha256, size=found.size, companions=companions)
    except NotFound as error:
        raise _invalid(f"sha256:{sha256}", error.detail) from error


def _by_name(ctx: Context, source: str, name: str | None) -> ModelRef:
    folder = ctx.settings.recipes_dir / "models"
    known = sorted(path.name for path in folder.glob("*") if path.is_file() and path.suffix not in (".md", "")) if folder.is_dir() else []
    found = next((source + suffix for suffix in SUFFIXES if source + suffix in known), None)
    if found is None:
        listed = nearest(source, known) if known else f"there are none in {folder}"
        raise _invalid(
            source, f"it is neither a URL (https://…, hf://…, file://…), nor sha256:<hex> of an upload, nor a model known by name. {listed}"
        )
    with (folder / found).open("rb") as file:
        stored = store_model(ctx, iter(lambda: file.read(CHUNK), b""), found)
    return ModelRef(source=f"sha256:{stored.sha256}", name=name or stored.name, sha256=stored.sha256, size=stored.size)


def path_of(ctx: Context, sha256: str) -> Path:
    return ctx.settings.models_dir / sha256[:2] / sha256


def unfinished_models(ctx: Context) -> list[Path]:
    """Where models are coming in, or did until a process was killed."""
    return list(ctx.settings.models_dir.glob(f"{UNFINISHED}*"))


class Incoming:
    """A model on its way in, by content: the same bytes twice are one file, and it is there whole or not at all. A context manager."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        ctx.settings.models_dir.mkdir(parents=True, exist_ok=True)
        self._part = ctx.settings.models_dir / f"{UNFINISHED}{secrets.token_hex(8)}"
        self._file = self._part.open("wb")
        self._digest, self._size = hashlib.sha256(), 0

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()  # what was buffered is written now, and a full disk says so
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, chunk: bytes) -> None:
        """
        Raises:
            TooLarge: more than `max_model_bytes`.
        """
        limit = self._ctx.settings.max_model_bytes
        self._size += len(chunk)
        if self._size > limit:
            raise TooLarge(f"the model is larger than {limit} bytes; raise FLEETMARK_MAX_MODEL_BYTES to accept it")
        self._digest.update(chunk)
        self._file.write(chunk)

    def store(self, name: str) -> ModelFile:
        """All of it is there: keep it.

        Raises:
            InvalidInput: no bytes at all.
        """
        if self._size == 0:
            raise InvalidInput("the upload is empty; send the model's bytes as the body (curl --data-binary @model.onnx)")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sha256 = self._digest.hexdigest()
        target = path_of(self._ctx, sha256)
        target.parent.mkdir(exist_ok=True)
        self._part.replace(target)
        row = ModelFile(sha256=sha256, name=name[:255], size=self._size, created_at=self._ctx.clock.now())

        def write(session: Session) -> ModelFile:
            return session.merge(row)

        try:
            return self._ctx.store.transact(write)
        except IntegrityError:
            return self._ctx.store.transact(write)  # another upload of the same bytes was a moment faster: the row is there now


def store_model(ctx: Context, chunks: Iterable[bytes], name: str) -> ModelFile:
    """Take a model in.

    Raises:
        TooLarge: more than `max_model_bytes`.
        InvalidInput: no bytes at all.
    """
    with Incoming(ctx) as incoming:
        for chunk in chunks:
            incoming.add(chunk)
        return incoming.store(name)
