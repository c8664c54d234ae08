"""Where models come from: `http(s)://…`, `hf://…`, `file://…` and `sha256:<hex>`, each into a path a runtime can open."""

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
from shared.tls import trust
from shared.workloads import ModelRef
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
FETCH_TIMEOUT_S = 6 * 3_600.0  # of a model with all that lies beside it; 100 GB at 5 MB/s
MODEL = "model.onnx"  # the file in an assembled folder; what its user calls it may be no name for a file
SUFFIXES = (".onnx",)


@dataclass(frozen=True)
class Own:
    """A server that this worker's own settings name: reached wherever it is, and the only one to be shown its token."""

    address: str
    token: str | None = None

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class ModelStore:
    """Fetches models into a cache that any number of processes share.

    Args:
        cache_dir: ours alone; a user's own file is never in it, is used where it lies, and is never changed.
        host: the orchestrator's address, for uploaded models; None on a worker without one.
        token: sent to that host only.
        max_bytes: of a downloaded model with the files beside it.
        ca_file: certificates of an authority to believe beside the public ones.
        cache_bytes: what the cache may hold, by least recent use; None for no limit.
        allow_private: fetch from addresses of this device and its network too, and through a proxy.
        hub: the Hugging Face hub that `hf://` means, and the token for it.
        timeout_s: of one model with all that lies beside it.
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

    def fetch(self, ref: ModelRef, on_progress: OnProgress, suffixes: tuple[str, ...] = SUFFIXES) -> FetchedModel:
        """Returns the model on this disk, verified against every hash and size that the reference promises.

        Args:
            on_progress: told the share done (None when the whole is unknown), with every piece that comes; what it raises
                ends the fetch, and a later one goes on from there.
            suffixes: by which a file of this device is known for a model.

        Raises:
            ModelUnavailable: with the source, what came back, and what to do.
            ModelInvalid: the model names files outside its folder.
        """
        scheme = ref.source.partition(":")[0].lower()
        try:
            if scheme == "file":
                return self._from_disk(ref, on_progress, suffixes)
            if scheme in ("http", "https"):
                return self._from_url(ref, ref.source, None, on_progress)
            if scheme == "hf":
                return self._from_url(ref, _on_hub(ref.source, self._hub.address), self._hub, on_progress)
            if scheme == "sha256":
                return self._uploaded(ref, on_progress)
        except OSError as error:
            mend = f"; {MORE_ROOM}" if error.errno in FULL else ""
            raise ModelUnavailable(f"{ref.source} cannot be stored or read on this device: {error}{mend}") from error
        raise ModelUnavailable(
            f"{ref.source}: the scheme {scheme!r} is not supported; give an http(s)://, hf:// or file:// URL, or upload the model"
        )

    @contextmanager
    def in_use(self, model: FetchedModel) -> Iterator[None]:
        """While this lasts, no other worker's download puts the model out of the cache that they share.

        Raises:
            ModelUnavailable: one has already; or, at the end, a file of the device's owner is not the one that was hashed any more.
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
        path = local_path(ref.source, suffixes)
        stamp = Stamp.of(path)  # before it is hashed: what is written meanwhile is not what the hash is of
        model = self._local.content(path, ref.source, on_progress)
        refuse_pointer(path, ref.source)
        weights = locations(path, ref.name)
        for companion in ref.companions:  # by its name alone: whatever else lies beside a model is not looked at, whoever asks for it
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

    def _uploaded(self, ref: ModelRef, on_progress: OnProgress) -> FetchedModel:
        sha256 = ref.source.partition(":")[2].lower()
        if not SHA256.fullmatch(sha256):
            raise ModelUnavailable(f"{ref.source} is no SHA-256: sha256: and 64 hexadecimal digits")
        patience = self._patience(ref.source, on_progress)
        files = {companion.name: companion.sha256 for companion in ref.companions}
        paths = [self._by_hash(sha256, [], patience)]
        refuse_pointer(paths[0], ref.name)
        weights = locations(paths[0], ref.name)
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

    def _from_url(self, ref: ModelRef, url: str, own: Own | None, on_progress: OnProgress) -> FetchedModel:
        patience = self._patience(ref.source, on_progress)
        path, sha256 = self._by_url(url, own, ref.sha256, [], patience)
        refuse_pointer(path, ref.source)
        promised = {companion.name: companion.sha256 for companion in ref.companions}
        files: dict[str, str] = {}
        paths = [path]
        weights = locations(path, ref.name)
        for location in dict.fromkeys([*weights, *promised]):
            beside = urljoin(url, quote(location))
            companion, files[location] = self._by_url(beside, own, promised.get(location), paths, patience)
            paths.append(companion)
        return self._fetched(ref, sha256, paths, files, weights)

    def _by_url(self, url: str, own: Own | None, promised: str | None, so_far: Sequence[Path], patience: Patience) -> tuple[Path, str]:
        """Path and SHA-256 of what a URL gives now: asked again each time, downloaded only when it has changed."""
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

    def _patience(self, source: str, on_progress: OnProgress) -> Patience:
        from worker.models.transport import Patience  # and with it httpx: 10 MB resident that a worker of local files does not need

        return Patience(source, self._clock, self._timeout_s, on_progress)

    @contextmanager
    def _downloading(self, url: str, key: str, own: Own | None, so_far: Sequence[Path], patience: Patience) -> Iterator[Download]:
        """A download of what the limit leaves beside the files there are `so_far`; only `own` is reached at any address."""
        import httpx

        from worker.models.transport import Transport, open_client

        if self._tls is None:
            self._tls = httpx.create_ssl_context()  # 20 ms, once
            if self._ca_file is not None:
                trust(self._tls, self._ca_file)
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
                    download.discard()  # what fills the disk would fail the next job, too
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
        """The model in the cache whose file is `paths[0]`.

        Args:
            files: what lies beside it: the SHA-256 of each, by name, in the order of the other paths.
            weights: those of them that the model names.
        """
        path, *others = paths
        model = Content(sha256, path.stat().st_size)
        companions = {name: Content(content, other.stat().st_size) for (name, content), other in zip(files.items(), others, strict=True)}
        for name, other in zip(files, others, strict=True):
            refuse_pointer(other, f"{name!r} beside {ref.source}")
        check_promises(ref, model, companions)
        if files:
            name = MODEL
            while name in files:
                name = f"the-{name}"
            path = self._cache.assemble(name, {name: sha256, **files})
        return fetched_model(ref, path, model, {name: companions[name] for name in weights})


def _size(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)


def _on_hub(source: str, endpoint: str) -> str:
    try:
        return HubFile.parse(source).url(endpoint)
    except ValueError as error:
        raise ModelUnavailable(f"{source}: {error}") from error
