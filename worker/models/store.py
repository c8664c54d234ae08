"""Where models come from: `http(s)://…`, `file://…` and `sha256:<hex>`, each into a path a runtime can open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import url2pathname

from shared.clock import Clock, SystemClock
from shared.errors import ModelUnavailable
from shared.ids import SHA256
from shared.workloads import ModelRef
from worker.models.cache import Cache, hash_file, key_of
from worker.models.download import Download, Validators
from worker.models.external_data import check_relative, external_locations

if TYPE_CHECKING:
    import ssl

OnProgress = Callable[[float | None], None]
CONNECT_S, READ_S = 10.0, 30.0  # READ_S without one byte is a dead connection, not a slow one
FETCH_TIMEOUT_S = 6 * 3_600.0  # of one file; 100 GB at 5 MB/s


@dataclass(frozen=True)
class FetchedModel:
    """A model on this disk. `size` counts the files of its weights too; `sha256` is of the model file alone."""

    path: Path
    sha256: str
    size: int
    name: str


class ModelStore:
    """Fetches models into a cache that any number of processes share.

    Args:
        cache_dir: ours alone; a user's own file is never in it, is used where it lies, and is never changed.
        host: the orchestrator's address, for uploaded models; None on a worker without one.
        token: sent to that host only.
        max_bytes: of one downloaded file.
        cache_bytes: what the cache may hold, by least recent use; None for no limit.
    """

    def __init__(
        self,
        cache_dir: Path,
        *,
        host: str | None,
        token: str | None,
        max_bytes: int,
        cache_bytes: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._cache = Cache(cache_dir, self._clock)
        self._host, self._token = host.rstrip("/") if host else None, token
        self._max_bytes, self._cache_bytes = max_bytes, cache_bytes
        self._tls: ssl.SSLContext | None = None
        self._hashes: dict[tuple[str, int, int, int], str] = {}  # of local files, by path, size, time and inode
        self._lock = threading.Lock()

    def fetch(self, ref: ModelRef, on_progress: OnProgress) -> FetchedModel:
        """The model on this disk, verified against every hash and size the reference promises.

        Args:
            on_progress: told the share done (None when the whole is unknown), about once a megabyte; what it raises
                ends the fetch, and a later one goes on from there.

        Raises:
            ModelUnavailable: with the source, what came back, and what to do.
            ModelInvalid: the model names files outside its folder.
        """
        scheme = ref.source.partition(":")[0].lower()
        try:
            if scheme == "file":
                fetched = self._local(ref, on_progress)
            elif scheme in ("http", "https"):
                fetched = self._from_url(ref, on_progress)
            elif scheme == "sha256":
                fetched = self._uploaded(ref, on_progress)
            else:
                raise ModelUnavailable(
                    f"{ref.source}: the scheme {scheme!r} is not supported; give an http(s):// or file:// URL, or upload the model"
                )
        except OSError as error:
            raise ModelUnavailable(f"{ref.source} cannot be stored or read on this device: {error}") from error
        if ref.sha256 is not None and fetched.sha256 != ref.sha256:
            raise ModelUnavailable(f"{ref.source} has the SHA-256 {fetched.sha256}, not the promised {ref.sha256}: the file has changed")
        if ref.size is not None and (size := fetched.path.stat().st_size) != ref.size:
            raise ModelUnavailable(f"{ref.source} has {size} bytes, not the promised {ref.size}: the file has changed")
        return fetched

    def _local(self, ref: ModelRef, on_progress: OnProgress) -> FetchedModel:
        path = local_path(ref.source)
        if path.is_dir():
            raise ModelUnavailable(f"{ref.source} is a directory; give the model file in it")
        if not path.is_file():
            raise ModelUnavailable(f"{ref.source} does not exist on this device; give a path on the worker's own disk, or upload the model")
        stat = path.stat()
        identity = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        with self._lock:
            known = self._hashes.get(identity)
        sha256 = known or hash_file(path, lambda done: on_progress(done / max(1, stat.st_size)))
        with self._lock:
            self._hashes[identity] = sha256
        beside = [path.parent / location for location in external_locations(path)]
        return FetchedModel(path, sha256, stat.st_size + sum(file.stat().st_size for file in beside if file.is_file()), ref.name)

    def _uploaded(self, ref: ModelRef, on_progress: OnProgress) -> FetchedModel:
        sha256 = ref.source.partition(":")[2].lower()
        if not SHA256.fullmatch(sha256):
            raise ModelUnavailable(f"{ref.source} is no SHA-256: sha256: and 64 hexadecimal digits")
        for companion in ref.companions:
            check_relative(companion.name, ref.name)
        files = {companion.name: companion.sha256 for companion in ref.companions}
        paths = [self._by_hash(wanted, on_progress) for wanted in (sha256, *files.values())]
        return self._fetched(ref.name, sha256, paths, files)

    def _by_hash(self, sha256: str, on_progress: OnProgress) -> Path:
        with self._cache.locked(sha256, lambda: on_progress(None)):
            if (blob := self._cache.blob(sha256)) is not None:
                return blob
            if self._host is None:
                raise ModelUnavailable(
                    f"sha256:{sha256} is an uploaded model, and this worker has no orchestrator to fetch it from (--host)"
                )
            url = f"{self._host}/api/models/{sha256}"
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            with self._downloading(url, sha256, headers, on_progress) as download:
                download.run(Validators())
                return self._verified(url, download, sha256, sha256, on_progress)

    def _from_url(self, ref: ModelRef, on_progress: OnProgress) -> FetchedModel:
        path, sha256 = self._by_url(ref.source, ref.sha256, on_progress)
        promised = {companion.name: companion.sha256 for companion in ref.companions}
        locations = dict.fromkeys([*external_locations(path), *promised])
        files: dict[str, str] = {}
        paths = [path]
        for location in locations:
            check_relative(location, ref.name)
            sibling = urljoin(ref.source, quote(location))
            companion, files[location] = self._by_url(sibling, promised.get(location), on_progress)
            paths.append(companion)
        return self._fetched(ref.name, sha256, paths, files)

    def _by_url(self, url: str, promised: str | None, on_progress: OnProgress) -> tuple[Path, str]:
        """Path and SHA-256 of what a URL gives now: asked again each time, downloaded only when it has changed."""
        if promised is not None and (blob := self._cache.blob(promised)) is not None:
            return blob, promised
        key = key_of(url)
        with self._cache.locked(key, lambda: on_progress(None)):
            known = self._cache.remembered(key)
            with self._downloading(url, key, {}, on_progress) as download:
                validators = download.run(Validators(known.get("etag"), known.get("last_modified")))
                if validators is None:
                    sha256 = str(known["sha256"])
                    return self._cache.blob(sha256) or self._cache.partial(key), sha256
                path = self._verified(url, download, key, promised, on_progress)
            self._cache.remember(key, {"url": url, "sha256": path.name, "etag": validators.etag, "last_modified": validators.last_modified})
            return path, path.name

    @contextmanager
    def _downloading(self, url: str, key: str, headers: dict[str, str], on_progress: OnProgress) -> Iterator[Download]:
        import httpx  # 10 MB resident that a worker of local files does not need

        if self._tls is None:
            self._tls = httpx.create_ssl_context()  # 20 ms, once
        end = self._clock.monotonic() + FETCH_TIMEOUT_S

        def tick(share: float | None) -> None:
            if self._clock.monotonic() > end:
                raise ModelUnavailable(
                    f"{url} was not done after {FETCH_TIMEOUT_S / 3600:g} h; what came is kept, and the next try goes on from there"
                )
            on_progress(share)

        timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
        with httpx.Client(verify=self._tls, follow_redirects=True, timeout=timeout) as client:
            partial = self._cache.partial(key)
            yield Download(client, url, partial, headers=headers, max_bytes=self._max_bytes, clock=self._clock, tick=tick)

    def _verified(self, url: str, download: Download, key: str, promised: str | None, on_progress: OnProgress) -> Path:
        partial = self._cache.partial(key)
        sha256 = hash_file(partial, lambda _done: on_progress(1.0))
        if promised is not None and sha256 != promised:
            download.discard()
            raise ModelUnavailable(f"{url} gave a file with the SHA-256 {sha256}, but {promised} was promised: the file has changed")
        download.finished()
        path = self._cache.adopt(partial, sha256)
        if self._cache_bytes is not None:
            self._cache.trim(self._cache_bytes)
        return path

    def _fetched(self, name: str, sha256: str, paths: list[Path], files: dict[str, str]) -> FetchedModel:
        path = paths[0]
        if files:
            model = PurePosixPath(name.replace("\\", "/")).name or "model.onnx"
            while model in files:
                model = f"model-{model}"
            path = self._cache.assemble(model, {model: sha256, **files})
        return FetchedModel(path, sha256, sum(file.stat().st_size for file in paths), name)


def local_path(source: str) -> Path:
    """The path of a `file://` URL.

    Raises:
        ModelUnavailable: it names another host, or no absolute path.
    """
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost"):
        raise ModelUnavailable(f"{source} names the host {parts.netloc!r}; a file URL of this device has three slashes: file:///path")
    path = Path(url2pathname(parts.path))
    if not path.is_absolute():
        raise ModelUnavailable(f"{source} is no absolute path: file:///path/to/model.onnx")
    return path
