"""Fetches models from `http(s)://…`, `hf://…`, `file://…` and `sha256:<hex>`, and returns a path that a runtime can open."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
from shared.tls import verification
from worker.models.cache import Cache, hash_file, key_of
from worker.models.download import Download, Validators
from worker.models.fetched import FetchedModel, fetched_model
from worker.models.local import LocalFiles, Stamp, files_beside, local_path, locations, missing
from worker.models.promises import check_promises, refuse_pointer

if TYPE_CHECKING:
    import ssl

    from worker.models.transport import Patience

OnProgress = Callable[[float | None], None]
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MORE_ROOM = "free some space there, or bound the cache with FLEETMARK_WORKER_MAX_CACHE_BYTES"
FETCH_TIMEOUT_S = 6 * 3_600.0  # the limit for a model and all files beside it: enough for 100 GB at 5 MB/s
MODEL = "model.onnx"  # the model's file name in an assembled folder. The user's name for it may not be a valid file name.
PACKAGE = "model.mlpackage/"  # a package is a folder within an assembled folder, and its runtime knows it by this ending
SUFFIXES = (".onnx",)


@dataclass(frozen=True)
class Own:
    """Describes a server that this worker's own settings name. It may have any address, and only it receives its token."""

    address: str
    token: str | None = None

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


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
        hub: Own = Own(HUB),
        timeout_s: float = FETCH_TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._cache = Cache(cache_dir, self._clock)
        self._orchestrator, self._hub = Own(host.rstrip("/"), token) if host else None, hub
        self._max_bytes, self._cache_bytes, self._timeout_s = max_bytes, cache_bytes, timeout_s
        self._allow_private = allow_private
        self._tls: ssl.SSLContext | None = None
        self._local = LocalFiles()
        self._ca_file = ca_file

    def fetch(
        self,
        ref: ModelRef,
        on_progress: OnProgress,
        suffixes: tuple[str, ...] = SUFFIXES,
        on_wait: Callable[[], None] = lambda: None,
    ) -> FetchedModel:
        """Return the model on this disk, verified against every hash and size that the reference promises.

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
                return self._from_url(
                    ref, _on_hub(ref.source, self._hub.address), self._hub, self._patience(ref.source, on_progress, on_wait)
                )
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
        with self._cache.locked(sha256, patience.look):
            if (blob := self._cache.blob(sha256)) is not None:
                return blob
            if self._orchestrator is None:
                raise ModelUnavailable(
                    f"sha256:{sha256} is an uploaded model, and this worker has no orchestrator to fetch it from (--host)"
                )
            url = f"{self._orchestrator.address}/api/models/{sha256}"
            with self._downloading(url, sha256, self._orchestrator, so_far, patience) as download:
                download.run(Validators())
                return self._verified(url, download, sha256, sha256, so_far, patience)

    def _from_url(self, ref: ModelRef, url: str, own: Own | None, patience: Patience) -> FetchedModel:
        path, sha256 = self._by_url(url, own, ref.sha256, [], patience)
        refuse_pointer(path, ref.source)
        promised = {companion.name: companion.sha256 for companion in ref.companions}
        files: dict[str, str] = {}
        paths = [path]
        weights = locations(path, ref.name, promised)
        for location in dict.fromkeys([*weights, *promised]):
            beside = urljoin(url, quote(location))
            companion, files[location] = self._by_url(beside, own, promised.get(location), paths, patience)
            paths.append(companion)
        return self._fetched(ref, sha256, paths, files, weights)

    def _by_url(self, url: str, own: Own | None, promised: str | None, so_far: Sequence[Path], patience: Patience) -> tuple[Path, str]:
        """Return the path and the SHA-256 of a URL's current content.

        The server is asked each time, and the file is downloaded only if it has changed. A promised file that is in the cache is used
        without asking.
        """
        if promised is not None and (blob := self._cache.blob(promised)) is not None:
            return blob, promised
        key = key_of(url)
        with self._cache.locked(key, patience.look):
            known = self._cache.remembered(key)
            with self._downloading(url, key, own, so_far, patience) as download:
                validators = download.run(Validators(known.get("etag"), known.get("last_modified")))
                if validators is None:
                    sha256 = str(known["sha256"])
                    return self._cache.blob(sha256) or self._cache.partial(key), sha256
                path = self._verified(url, download, key, promised, so_far, patience)
            self._cache.remember(key, {"url": url, "sha256": path.name, "etag": validators.etag, "last_modified": validators.last_modified})
            return path, path.name

    def _patience(self, source: str, on_progress: OnProgress, on_wait: Callable[[], None]) -> Patience:
        from worker.models.transport import Patience  # imports httpx: 10 MB of memory that a worker with local files only does not need

        return Patience(source, self._clock, self._timeout_s, on_progress, on_wait)

    @contextmanager
    def _downloading(self, url: str, key: str, own: Own | None, so_far: Sequence[Path], patience: Patience) -> Iterator[Download]:
        """Open a download whose size limit is what the files `so_far` leave of the model's limit. Only `own` may have a private address."""
        import httpx

        from worker.models.transport import Transport, open_client

        if self._tls is None:
            self._tls = verification(self._ca_file)  # this takes 20 ms, so it happens only once
        host = httpx.URL(own.address).host if own else None
        transport = Transport(self._tls, patience, own_host=host, allow_private=self._allow_private)
        with open_client(transport) as client:
            download = Download(
                client,
                url,
                self._cache.partial(key),
                headers=own.headers() if own else {},
                max_bytes=max(0, self._max_bytes - _size(*so_far)),
                clock=self._clock,
                patience=patience,
            )
            try:
                yield download
            except OSError as error:
                if error.errno in FULL:
                    download.discard()  # a full disk would make the next job fail, too
                raise

    def _verified(self, url: str, download: Download, key: str, promised: str | None, so_far: Sequence[Path], patience: Patience) -> Path:
        partial = self._cache.partial(key)
        sha256 = hash_file(partial, lambda _done: patience.tick(1.0))
        if promised is not None and sha256 != promised:
            try:
                refuse_pointer(partial, url)
            finally:
                download.discard()
            raise ModelUnavailable(f"{url} gave a file with the SHA-256 {sha256}, but {promised} was promised: the file has changed")
        download.finished()
        path = self._cache.adopt(partial, sha256)
        self._cache.sweep()
        if self._cache_bytes is not None:
            self._cache.trim(self._cache_bytes, [path, *so_far])
        return path

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
        return fetched_model(ref, path, model, {name: companions[name] for name in weights})


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


def _size(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)


def _on_hub(source: str, endpoint: str) -> str:
    try:
        return HubFile.parse(source).url(endpoint)
    except ValueError as error:
        raise ModelUnavailable(f"{source}: {error}") from error
