"""Fetches models from `http(s)://…`, `hf://…`, `file://…` and `sha256:<hex>`, and returns a path that a runtime can open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

from shared.clock import Clock, SystemClock
from shared.content import Content
from shared.errors import ModelUnavailable
from shared.external_data import VALUE_FILES
from shared.hub import HUB, HubFile
from shared.ids import SHA256
from shared.inputs import ModelRef
from shared.model_packages import MANIFEST, files_in, items_of, model_file
from shared.snapshots import CONFIG, is_snapshot
from shared.snapshots import files_in as files_in_snapshot
from shared.sources import UPLOAD
from worker.models.cache import Cache
from worker.models.download import Explain
from worker.models.downloads import FULL, MORE_ROOM, Downloads, Own
from worker.models.fetched import FetchedModel, fetched_model
from worker.models.hub import HubSnapshots
from worker.models.hub_refusals import refusal_of
from worker.models.known import KnownModel, remember, shareable
from worker.models.local import LocalFiles, Stamp, files_beside, local_path, locations, missing
from worker.models.promises import check_promises, refuse_pointer

if TYPE_CHECKING:
    from worker.models.transport import Patience

OnProgress = Callable[[float | None], None]
FETCH_TIMEOUT_S = 6 * 3_600.0  # the limit for a model and all files beside it: enough for 100 GB at 5 MB/s
MODEL = "model.onnx"  # the model's file name in an assembled folder. The user's name for it may not be a valid file name.
PACKAGE = "model.mlpackage/"  # a package is a folder within an assembled folder, and its runtime knows it by this ending
SUFFIXES = (".onnx",)
HUGGING_FACE = Own(HUB)


class ModelStore:
    """Fetches models into a cache that any number of processes share.

    Args:
        cache_dir: The folder of the cache. A user's own file is never copied into it: it is used in its place and never changed.
        host: The orchestrator's address, for uploaded models. None for a worker without an orchestrator.
        token: Sent to that host only.
        max_bytes: The largest allowed size of a downloaded model with the files beside it.
        ca_file: Certificates of an authority to trust in addition to the public ones.
        cache_bytes: The limit of the cache, beyond which the least recently used files are removed. None for no limit.
        allow_private: Also fetch from addresses of this device and its network, and through a proxy.
        hub: The Hugging Face hub for `hf://`, and its token.
        timeout_s: The time limit for one model with all files beside it.
    """

    def __init__(
        self,
        cache_dir: Path,
        *,
        host: str | None,
        token: str | None,
        ca_file: Path | None = None,
        max_bytes: int,
        cache_bytes: int | None = None,
        allow_private: bool = False,
        hub: Own = HUGGING_FACE,
        timeout_s: float = FETCH_TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._cache_dir = cache_dir
        self._cache = Cache(cache_dir, clock)
        self._orchestrator, self._hub = Own(host.rstrip("/"), token) if host else None, hub
        self._timeout_s = timeout_s
        self._downloads = Downloads(
            self._cache, clock, max_bytes=max_bytes, ca_file=ca_file, cache_bytes=cache_bytes, allow_private=allow_private
        )
        self._snapshots = HubSnapshots(self._downloads, hub)
        self._local = LocalFiles()

    def fetch(
        self,
        ref: ModelRef,
        on_progress: OnProgress,
        suffixes: tuple[str, ...] = SUFFIXES,
        on_wait: Callable[[], None] = lambda: None,
    ) -> FetchedModel:
        """Return the model on this disk, verified against every hash and size that the reference promises; see `_fetch`.

        A model in the cache is noted, so that the worker can say that it has it.
        """
        found = self._fetch(ref, on_progress, suffixes, on_wait)
        if found.blobs:
            sources = shareable([ref.source, found.origin]) if not ref.source.startswith(UPLOAD) else ()
            remember(self._cache_dir, KnownModel(found.sha256, found.name, found.size, sources, found.blobs))
        return found

    def _fetch(
        self,
        ref: ModelRef,
        on_progress: OnProgress,
        suffixes: tuple[str, ...],
        on_wait: Callable[[], None],
    ) -> FetchedModel:
        """Return the model on this disk.

        Args:
            on_progress: Called for every piece of data with the fraction done, or None if the total is unknown. If it raises, the fetch
                ends, and a later fetch resumes there.
            suffixes: The suffixes that a model file of this device may have.
            on_wait: Called before each wait for a server. It is followed by `on_progress` before any further work.

        Raises:
            ModelUnavailable: It could not be fetched. The message names the source, what came back, and what to do.
            ModelInvalid: The model names files outside its folder.
        """
        scheme = ref.source.partition(":")[0].lower()
        try:
            if scheme == "file":
                return self._from_disk(ref, on_progress, suffixes)
            if scheme in ("http", "https"):
                return self._from_url(ref, ref.source, None, self._patience(ref.source, on_progress, on_wait))
            if scheme == "hf":
                patience = self._patience(ref.source, on_progress, on_wait)
                return self._from_hub(ref, patience) if CONFIG in suffixes else self._file_of_hub(ref, patience)
            if scheme == "sha256":
                return self._uploaded(ref, self._patience(ref.source, on_progress, on_wait))
        except OSError as error:
            mend = f"; {MORE_ROOM}" if error.errno in FULL else ""
            raise ModelUnavailable(f"{ref.source} cannot be stored or read on this device: {error}{mend}") from error
        raise ModelUnavailable(
            f"{ref.source}: the scheme {scheme!r} is not supported; give an http(s)://, hf:// or file:// URL, or upload the model"
        )

    @contextmanager
    def in_use(self, model: FetchedModel) -> Iterator[None]:
        """Keep other workers' downloads from evicting the model from the shared cache.

        Raises:
            ModelUnavailable: It was already evicted. Or, at the end: a local file has changed since it was hashed.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._cache.in_use(model.path))
            except FileNotFoundError as error:
                raise ModelUnavailable(f"{model.name} was put out of the cache before it could be used; {MORE_ROOM}") from error
            yield
        changed = next((path for path, stamp in model.stamps if Stamp.of(path) != stamp), None)
        if changed is not None:
            raise ModelUnavailable(
                f"{changed} changed on this device while {model.name} was measured, so that it is not known what was: "
                "leave it alone until the job has ended, or upload the model"
            )

    def _from_disk(self, ref: ModelRef, on_progress: OnProgress, suffixes: tuple[str, ...]) -> FetchedModel:
        path = model_file(local_path(ref.source, suffixes))
        stamp = Stamp.of(path)  # the stamp is taken before hashing, because the hash does not cover what is written meanwhile
        model = self._local.content(path, ref.source, on_progress)
        refuse_pointer(path, ref.source)
        weights = locations(path, ref.name, _files_in(path.parent, path.name, ref.name))
        for companion in ref.companions:  # checked by name before the disk is read: a recipe must not reach other files beside a model
            if companion.name not in weights and not companion.name.endswith(VALUE_FILES):
                raise ModelUnavailable(f"{ref.source} does not name the promised companion {companion.name!r} as a file of its weights")
        found = files_beside(path, ref.name, dict.fromkeys([*weights, *(companion.name for companion in ref.companions)]))
        stamps = [(path, stamp), *((file, Stamp.of(file)) for file in found.values())]
        companions = {name: self._local.content(file, f"{ref.source}: {name!r}", on_progress) for name, file in found.items()}
        for name, file in found.items():
            refuse_pointer(file, f"{name!r} beside {ref.source}")
        check_promises(ref, model, companions)
        unchanged = tuple((file, stamp) for file, stamp in stamps if stamp is not None)
        return fetched_model(ref, path, model, {name: companions[name] for name in weights}, unchanged)

    def _uploaded(self, ref: ModelRef, patience: Patience) -> FetchedModel:
        sha256 = ref.source.partition(":")[2].lower()
        if not SHA256.fullmatch(sha256):
            raise ModelUnavailable(f"{ref.source} is no SHA-256: sha256: and 64 hexadecimal digits")
        files = {companion.name: companion.sha256 for companion in ref.companions}
        paths = [self._by_hash(sha256, [], patience)]
        refuse_pointer(paths[0], ref.name)
        weights = locations(paths[0], ref.name, files)
        for location in weights:
            if location not in files:
                raise ModelUnavailable(missing(ref.name, location, "upload it with the model, as `fleetmark run` does"))
        for wanted in files.values():
            paths.append(self._by_hash(wanted, paths, patience))
        return self._fetched(ref, sha256, paths, files, weights)

    def _by_hash(self, sha256: str, so_far: Sequence[Path], patience: Patience) -> Path:
        if self._orchestrator is None and self._cache.blob(sha256) is None:
            raise ModelUnavailable(f"sha256:{sha256} is an uploaded model, and this worker has no orchestrator to fetch it from (--host)")
        address = self._orchestrator.address if self._orchestrator is not None else ""
        return self._downloads.by_hash(f"{address}/api/models/{sha256}", sha256, self._orchestrator, so_far, patience)

    def _from_url(self, ref: ModelRef, url: str, own: Own | None, patience: Patience, explain: Explain | None = None) -> FetchedModel:
        path = self._downloads.by_url(url, own, ref.sha256, [], patience, explain)
        refuse_pointer(path, ref.source)
        promised = {companion.name: companion.sha256 for companion in ref.companions}
        files: dict[str, str] = {}
        paths = [path]
        weights = locations(path, ref.name, promised)
        for location in dict.fromkeys([*weights, *promised]):
            beside = urljoin(url, quote(location))
            companion = self._downloads.by_url(beside, own, promised.get(location), paths, patience, explain)
            files[location] = companion.name
            paths.append(companion)
        return self._fetched(ref, path.name, paths, files, weights)

    def _from_hub(self, ref: ModelRef, patience: Patience) -> FetchedModel:
        """Return a whole snapshot of a language model."""
        model = self._snapshots.fetch(ref.source, ref.name, patience)
        files = {name: path.name for name, path in model.companions.items()}
        fetched = self._fetched(ref, model.config.name, [model.config, *model.companions.values()], files, list(files))
        return replace(fetched, origin=model.origin, warnings=(model.warning,) if model.warning else ())

    def _file_of_hub(self, ref: ModelRef, patience: Patience) -> FetchedModel:
        try:
            file = HubFile.parse(ref.source)
        except ValueError as error:
            raise ModelUnavailable(f"{ref.source}: {error}") from error
        return self._from_url(ref, file.url(self._hub.address), self._hub, patience, lambda response: refusal_of(file, self._hub, response))

    def _patience(self, source: str, on_progress: OnProgress, on_wait: Callable[[], None]) -> Patience:
        return self._downloads.patience(source, self._timeout_s, on_progress, on_wait)

    def _fetched(self, ref: ModelRef, sha256: str, paths: list[Path], files: dict[str, str], weights: Collection[str]) -> FetchedModel:
        """Return the model in the cache whose file is `paths[0]`.

        Args:
            files: The SHA-256 of each file beside it, keyed by name, in the order of the other paths.
            weights: The names in `files` that the model itself refers to.
        """
        path, *others = paths
        model = Content(sha256, path.stat().st_size)
        companions = {name: Content(content, other.stat().st_size) for (name, content), other in zip(files.items(), others, strict=True)}
        for name, other in zip(files, others, strict=True):
            refuse_pointer(other, f"{name!r} beside {ref.source}")
        check_promises(ref, model, companions)
        if files:
            folder, name = _place(path, ref.name)
            while name in files:
                name = f"the-{name}"
            path = self._cache.assemble(folder + name, {folder + one: content for one, content in {name: sha256, **files}.items()})
        blobs = (sha256, *files.values())
        return replace(fetched_model(ref, path, model, {name: companions[name] for name in weights}), blobs=blobs)


def _files_in(folder: Path, file: str, name: str) -> list[str]:
    """Return the files beside a model that consists of a folder, and no files for any other model."""
    if file == MANIFEST:
        return files_in(folder, name)
    return files_in_snapshot(folder, name) if file == CONFIG else []


def _place(model: Path, name: str) -> tuple[str, str]:
    """Return the subfolder of an assembled folder, and the file name in it, by which the runtime knows a model."""
    if items_of(model, name) is not None:
        return PACKAGE, MANIFEST
    return "", CONFIG if is_snapshot(model) else MODEL
