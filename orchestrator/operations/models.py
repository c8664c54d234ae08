"""Stores uploaded models under the hash of their content."""

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
from shared.controls import as_one_line
from shared.errors import InvalidInput, TooLarge
from shared.lfs import MAX_POINTER_BYTES, WHAT_TO_DO, is_pointer
from shared.sources import short_name, upload_source

CHUNK = 2**20
UNFINISHED = ".part-"


@dataclass(frozen=True)
class Stored:
    """Describes a stored file.

    Attributes:
        name: the name that this sender gave it. Another sender may have given the same bytes another name.
        source: how a recipe names this upload. It includes the name if the same bytes were first uploaded under another name.
    """

    sha256: str
    size: int
    name: str
    source: str


def path_of(ctx: Context, sha256: str) -> Path:
    return ctx.settings.models_dir / sha256[:2] / sha256


def unfinished_models(ctx: Context) -> list[Path]:
    """Return the partial files of uploads, both those in progress and those of processes that were killed."""
    return list(ctx.settings.models_dir.glob(f"{UNFINISHED}*"))


class Incoming:
    """Receives one model. Use it as a context manager.

    Models are stored by content, so the same bytes are stored once. A model is stored completely or not at all.
    """

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
            self._file.close()  # buffered bytes are written now, so a full disk raises here
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, chunk: bytes) -> None:
        """Add the next bytes of the model.

        Raises:
            TooLarge: the model has more than `max_model_bytes`.
        """
        limit = self._ctx.settings.max_model_bytes
        self._size += len(chunk)
        if self._size > limit:
            raise TooLarge(f"the model is larger than {limit} bytes; raise FLEETMARK_MAX_MODEL_BYTES to accept it")
        self._head += chunk[: MAX_POINTER_BYTES + 1 - len(self._head)]
        self._digest.update(chunk)
        self._file.write(chunk)

    def store(self, name: str, promised: str | None = None) -> Stored:
        """Store the model, after all of its bytes were added.

        Args:
            promised: the SHA-256 that the sender announced, if any.

        Raises:
            InvalidInput: there are no bytes at all, they are a Git LFS pointer, or they have another SHA-256. Nothing is stored then.
        """
        if self._size == 0:
            raise InvalidInput("the upload is empty; send the model's bytes as the body (curl --data-binary @model.onnx)")
        if is_pointer(self._head):
            raise InvalidInput(f"the upload, {name!r}, {WHAT_TO_DO}")
        sha256 = self._digest.hexdigest()
        if promised not in (None, sha256):
            raise InvalidInput(f"the bytes that arrived have the SHA-256 {sha256}, not {promised}; send them again")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target = path_of(self._ctx, sha256)
        target.parent.mkdir(exist_ok=True)
        name, size, now = short_name(as_one_line(name)), self._size, self._ctx.clock.now()

        def write(session: Session) -> str:
            known = session.get(ModelFile, sha256, with_for_update=True)
            if known is None:
                session.add(ModelFile(sha256=sha256, name=name, size=size, created_at=now))
                session.flush()
            if self._part.exists():  # else an earlier try of this transaction has moved it
                self._part.replace(target)  # while the row is locked: a removal deletes the file before, or keeps the row
            return known.name if known is not None else name

        try:
            first_name = self._ctx.store.transact(write)
        except IntegrityError:
            first_name = self._ctx.store.transact(write)  # a parallel upload of the same bytes was faster; its row exists now
        return Stored(sha256, size, name, upload_source(sha256, name if name != first_name else None))


def store_model(ctx: Context, chunks: Iterable[bytes], name: str) -> Stored:
    """Store a model whose bytes come in chunks.

    Raises:
        TooLarge: the model has more than `max_model_bytes`.
        InvalidInput: there are no bytes at all, or they are a Git LFS pointer.
    """
    with Incoming(ctx) as incoming:
        for chunk in chunks:
            incoming.add(chunk)
        return incoming.store(name)
