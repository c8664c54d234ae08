"""Uploaded models, kept by their content."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from orchestrator.operations.context import Context
from orchestrator.store.tables import ModelFile
from shared.errors import InvalidInput, TooLarge
from shared.lfs import MAX_POINTER_BYTES, WHAT_TO_DO, is_pointer
from shared.names import as_one_line
from shared.sources import short_name, upload_source

CHUNK = 2**20
UNFINISHED = ".part-"


@dataclass(frozen=True)
class Stored:
    """A file that was taken in.

    Attributes:
        name: what whoever sent it calls it. Others may have sent the same bytes under another name, so the name is theirs alone.
        source: how a recipe names this upload. It carries the name where the bytes came first under another one.
    """

    sha256: str
    size: int
    name: str
    source: str


def path_of(ctx: Context, sha256: str) -> Path:
    return ctx.settings.models_dir / sha256[:2] / sha256


def unfinished_models(ctx: Context) -> list[Path]:
    """Returns the files into which models are coming in, or did until a process was killed."""
    return list(ctx.settings.models_dir.glob(f"{UNFINISHED}*"))


class Incoming:
    """A model on its way in, by content: the same bytes twice are one file, and it is there whole or not at all. A context manager."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        ctx.settings.models_dir.mkdir(parents=True, exist_ok=True)
        self._part = ctx.settings.models_dir / f"{UNFINISHED}{secrets.token_hex(8)}"
        self._file = self._part.open("wb")
        self._digest, self._size, self._head = hashlib.sha256(), 0, b""

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
        self._head += chunk[: MAX_POINTER_BYTES + 1 - len(self._head)]
        self._digest.update(chunk)
        self._file.write(chunk)

    def store(self, name: str) -> Stored:
        """Keeps the model, all of which has come.

        Raises:
            InvalidInput: there are no bytes at all, or what came is a Git LFS pointer.
        """
        if self._size == 0:
            raise InvalidInput("the upload is empty; send the model's bytes as the body (curl --data-binary @model.onnx)")
        if is_pointer(self._head):
            raise InvalidInput(f"the upload, {name!r}, {WHAT_TO_DO}")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sha256 = self._digest.hexdigest()
        target = path_of(self._ctx, sha256)
        target.parent.mkdir(exist_ok=True)
        self._part.replace(target)
        name, size, now = short_name(as_one_line(name)), self._size, self._ctx.clock.now()

        def write(session: Session) -> str:
            known = session.get(ModelFile, sha256)
            if known is None:
                session.add(ModelFile(sha256=sha256, name=name, size=size, created_at=now))
            return known.name if known is not None else name

        try:
            first_name = self._ctx.store.transact(write)
        except IntegrityError:
            first_name = self._ctx.store.transact(write)  # another upload of the same bytes was a moment faster: the row is there now
        return Stored(sha256, size, name, upload_source(sha256, name if name != first_name else None))


def store_model(ctx: Context, chunks: Iterable[bytes], name: str) -> Stored:
    """Takes a model in.

    Raises:
        TooLarge: more than `max_model_bytes`.
        InvalidInput: no bytes at all, or a Git LFS pointer.
    """
    with Incoming(ctx) as incoming:
        for chunk in chunks:
            incoming.add(chunk)
        return incoming.store(name)
