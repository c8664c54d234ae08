"""Resolves the models that a recipe names into references that a worker can fetch and verify."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.operations.context import Context
from orchestrator.operations.models import CHUNK, Stored, path_of, store_model
from orchestrator.store import results
from orchestrator.store.tables import ModelFile
from shared.addresses import login_of, require_readable, shown_address
from shared.content import beside
from shared.controls import as_one_line
from shared.errors import FieldError, InvalidInput, ModelInvalid, nearest
from shared.external_data import external_locations
from shared.hub import require_hub_address
from shared.inputs import Companion, ModelRef
from shared.recipes import ModelEntry
from shared.sources import UPLOAD, file_path, model_name, upload_of

SCHEMES = ("http", "https", "file", "hf")
SUFFIXES = ("", ".onnx")


def resolve_models(ctx: Context, entries: Sequence[ModelEntry], *, snapshots: bool = False) -> list[ModelRef]:
    """Return the model reference for each entry, in the same order.

    `http(s)://`, `hf://` and `file://` (a path on the worker's disk) go to the worker unchanged. `sha256:<hex>` must have been
    uploaded. A plain name is looked up among the files in `<recipes_dir>/models`. That file is stored like an upload, together with
    the files that hold its weights.

    Args:
        snapshots: whether the models are snapshots of language models, so that `hf://` names a whole repository.

    Raises:
        InvalidInput: an entry is none of these, or the model's hash or size is not the promised one. `fields` lists every mistake.
    """
    sources = _Sources(ctx, entries, snapshots)
    found: list[ModelRef] = []
    mistakes: list[FieldError] = []
    for index, entry in enumerate(entries):
        try:
            found.append(sources.resolve(entry))
        except InvalidInput as error:
            mistakes.append(FieldError("model" if len(entries) == 1 else f"models.{index}", error.detail))
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise InvalidInput(f"{mistakes[0].message}{more}", fields=mistakes)
    return found


def unresolved(entry: ModelEntry) -> ModelRef:
    """Return a reference without looking for the model. It is enough to count the jobs of the entry."""
    return ModelRef(source=entry.model, name=entry.name or model_name(entry.model))


def described(entry: ModelEntry) -> ModelRef:
    """Return a reference with all that an entry says, without looking for the model.

    Raises:
        InvalidInput: the entry names an upload in another form than `sha256:<hex>`.
    """
    if not entry.model.startswith(UPLOAD):
        return unresolved(entry).model_copy(update={"sha256": entry.sha256, "size": entry.size, "companions": entry.companions})
    try:
        sha256, name = upload_of(entry.model)
    except ValueError as error:
        raise _invalid(entry.model, str(error)) from error
    shown = entry.name or name or model_name(entry.model)
    return ModelRef(source=f"{UPLOAD}{sha256}", name=shown, sha256=sha256, size=entry.size, companions=entry.companions)


class _Sources:
    """Looks up the models that the entries name. Each model is looked up once, however many entries name it."""

    def __init__(self, ctx: Context, entries: Iterable[ModelEntry], snapshots: bool) -> None:
        self._ctx, self._snapshots = ctx, snapshots
        self._uploads = self._look_up(entries)
        self._there: set[str] = set()  # hashes of the uploads whose file exists
        self._by_name: dict[str, tuple[Stored, tuple[Companion, ...]]] = {}

    def _look_up(self, entries: Iterable[ModelEntry]) -> dict[str, ModelFile]:
        wanted: set[str] = set()
        for entry in entries:
            if entry.model.startswith("sha256:"):
                wanted.add(entry.model.removeprefix("sha256:").partition("?")[0])
            wanted.update(companion.sha256 for companion in entry.companions if "://" not in entry.model)
        with self._ctx.store.read() as session:
            return results.models(session, wanted)

    def resolve(self, entry: ModelEntry) -> ModelRef:
        source = entry.model
        scheme, separator, _ = source.partition(":")
        if separator and scheme == "sha256":
            return self._uploaded(entry)
        if "://" in source:
            _check_url(source, scheme.lower(), self._snapshots)
            name = entry.name or model_name(source)
            return ModelRef(source=source, name=name, sha256=entry.sha256, size=entry.size, companions=entry.companions)
        return self._named(entry)

    def _uploaded(self, entry: ModelEntry) -> ModelRef:
        try:
            sha256, name = upload_of(entry.model)
        except ValueError as error:
            raise _invalid(entry.model, str(error)) from error
        found = self._upload(entry.model, sha256)
        _check_promise(entry, sha256, found.size)
        self._check_companions(entry)
        return ModelRef(
            source=f"sha256:{sha256}",
            name=entry.name or name or as_one_line(found.name),
            sha256=sha256,
            size=found.size,
            companions=entry.companions,
        )

    def _upload(self, source: str, sha256: str) -> ModelFile:
        found = self._uploads.get(sha256)
        if found is None:
            raise _invalid(source, f"no model with SHA-256 {sha256} was uploaded; POST /api/models takes one")
        if sha256 not in self._there and not path_of(self._ctx, sha256).is_file():
            raise _invalid(source, f"the file of the uploaded model {sha256} is gone; POST /api/models takes it again")
        self._there.add(sha256)
        return found

    def _check_companions(self, entry: ModelEntry, but: Collection[Companion] = ()) -> None:
        """Check that the promised companions were uploaded, but for those that have just been taken in."""
        for companion in entry.companions:
            if companion in but:
                continue
            size = self._upload(entry.model, companion.sha256).size
            if companion.size != size:
                raise _invalid(entry.model, f"its companion {companion.name!r} has {size} bytes, not the promised {companion.size}")

    def _named(self, entry: ModelEntry) -> ModelRef:
        source = entry.model
        if source not in self._by_name:
            self._by_name[source] = self._taken_in(source)
        stored, companions = self._by_name[source]
        _check_promise(entry, stored.sha256, stored.size)
        own = {companion.name: companion for companion in entry.companions}
        for companion in companions:
            if own.setdefault(companion.name, companion) != companion:
                raise _invalid(source, f"its companion {companion.name!r} is not the promised one: it has the SHA-256 {companion.sha256}")
        self._check_companions(entry, but=companions)
        name = entry.name or stored.name
        return ModelRef(source=f"sha256:{stored.sha256}", name=name, sha256=stored.sha256, size=stored.size, companions=tuple(own.values()))

    def _taken_in(self, source: str) -> tuple[Stored, tuple[Companion, ...]]:
        folder = self._ctx.settings.recipes_dir / "models"
        files = folder.glob("*") if folder.is_dir() else ()
        known = sorted(path.name for path in files if path.is_file() and path.suffix not in (".md", ""))
        found = next((source + suffix for suffix in SUFFIXES if source + suffix in known), None)
        if found is None:
            listed = nearest(source, known) if known else f"there are none in {folder}"
            raise _invalid(
                source,
                f"it is neither a URL (https://…, hf://…, file://…), nor sha256:<hex> of an upload, nor a model known by name. {listed}",
            )
        companions = []
        for location in _locations(folder / found, source):
            if not (folder / location).is_file():
                raise _invalid(source, f"it keeps weights in {location!r}, which is not beside it in {folder}")
            stored = _stored(self._ctx, folder / location)
            companions.append(Companion(name=location, sha256=stored.sha256, size=stored.size))
        return _stored(self._ctx, folder / found), tuple(companions)


def _locations(model: Path, source: str) -> Iterator[str]:
    """Yield the paths of the files that hold a model's weights, relative to the model's folder."""
    if model.stat().st_size == 0:
        return
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            yield from dict.fromkeys(beside(location) for location in external_locations(content, model.name))
        except ModelInvalid as error:
            raise _invalid(source, error.detail) from error


def _stored(ctx: Context, path: Path) -> Stored:
    with path.open("rb") as file:
        return store_model(ctx, iter(lambda: file.read(CHUNK), b""), path.name)


def _check_url(source: str, scheme: str, snapshots: bool) -> None:
    """Check that a worker could fetch this URL.

    Raises:
        InvalidInput: no worker could fetch it.
    """
    if scheme not in SCHEMES:
        raise _invalid(source, f"the scheme {scheme!r} is not fetched; use {', '.join(f'{known}://' for known in SCHEMES)}")
    try:
        require_readable(source)
    except ValueError as error:
        raise _invalid(source, f"it is no URL: it {error}") from None
    if scheme in ("file", "hf") and login_of(source):
        raise _invalid(source, f"{scheme}:// has no login")
    if scheme in ("file", "hf"):
        try:
            require_hub_address(source, snapshots=snapshots) if scheme == "hf" else file_path(source)
        except ValueError as error:
            raise _invalid(source, str(error)) from error
    elif not urlsplit(source).hostname:
        raise _invalid(source, "it names no host")
    if scheme == "file" and source.endswith("/") and not snapshots:
        raise _invalid(source, "it is a directory; name the model's file")


def _check_promise(entry: ModelEntry, sha256: str, size: int) -> None:
    """Check the hash and the size that an entry promises.

    Raises:
        InvalidInput: the file is not the one that the entry promises.
    """
    if entry.sha256 is not None and entry.sha256 != sha256:
        raise _invalid(entry.model, f"it has the SHA-256 {sha256}, not the promised {entry.sha256}")
    if entry.size is not None and entry.size != size:
        raise _invalid(entry.model, f"it has {size} bytes, not the promised {entry.size}")


def _invalid(source: str, why: str) -> InvalidInput:
    message = f"model {shown_address(source)!r}: {why}"
    return InvalidInput(message, fields=[FieldError("model", message)])
