"""Downloads files into the cache, each verified against what is promised of it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.clock import Clock
from shared.errors import ModelUnavailable
from shared.tls import verification
from worker.models.cache import Cache, hash_file, key_of
from worker.models.download import Download, Explain, Validators
from worker.models.promises import refuse_pointer

if TYPE_CHECKING:
    import ssl

    import httpx

    from worker.models.transport import Patience

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MORE_ROOM = "free some space there, or bound the cache with FLEETMARK_WORKER_MAX_CACHE_BYTES"


@dataclass(frozen=True)
class Own:
    """Describes a server that this worker's own settings name. It may have any address, and only it receives its token."""

    address: str
    token: str | None = None

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Downloads:
    """Downloads files into a cache.

    Args:
        max_bytes: The largest allowed size of a model with the files beside it.
        ca_file: Certificates of an authority to trust in addition to the public ones.
        cache_bytes: The limit of the cache, beyond which the least recently used files are removed. None for no limit.
        allow_private: Also connect to addresses of this device and its network, and through a proxy.
    """

    def __init__(
        self, cache: Cache, clock: Clock, *, max_bytes: int, ca_file: Path | None, cache_bytes: int | None, allow_private: bool
    ) -> None:
        self.cache, self.max_bytes = cache, max_bytes
        self._clock, self._ca_file, self._cache_bytes, self._allow_private = clock, ca_file, cache_bytes, allow_private
        self._tls: ssl.SSLContext | None = None

    def patience(self, source: str, limit_s: float, on_progress: Callable[[float | None], None], on_wait: Callable[[], None]) -> Patience:
        from worker.models.transport import Patience  # imports httpx: 10 MB of memory that a worker with local files only does not need

        return Patience(source, self._clock, limit_s, on_progress, on_wait)

    @contextmanager
    def client(self, own: Own | None, patience: Patience) -> Iterator[httpx.Client]:
        """Open a client. Only the host of `own` may have a private address."""
        import httpx

        from worker.models.transport import Transport, open_client

        if self._tls is None:
            self._tls = verification(self._ca_file)  # this takes 20 ms, so it happens only once
        host = httpx.URL(own.address).host if own else None
        with open_client(Transport(self._tls, patience, own_host=host, allow_private=self._allow_private)) as client:
            yield client

    def by_hash(self, url: str, sha256: str, own: Own | None, so_far: Sequence[Path], patience: Patience) -> Path:
        """Return the path of a file with this content. If it is not in the cache, it is downloaded."""
        with self.cache.locked(sha256, patience.look):
            if (blob := self.cache.blob(sha256)) is not None:
                return blob
            with self._downloading(url, sha256, own, so_far, patience) as download:
                download.run(Validators())
                return self._verified(url, download, sha256, sha256, so_far, patience)

    def by_url(
        self,
        url: str,
        own: Own | None,
        promised: str | None,
        so_far: Sequence[Path],
        patience: Patience,
        explain: Explain | None = None,
        check: Callable[[Path], None] | None = None,
    ) -> Path:
        """Return the path of a URL's current content, whose name is its SHA-256.

        The server is asked each time, and the file is downloaded only if it has changed. A promised file that is in the cache is used
        without asking.

        Args:
            explain: Says in words for people why a server refused.
            check: Raises if the file is not the one that is wanted. It is then not kept.
        """
        if promised is not None and (blob := self.cache.blob(promised)) is not None:
            return blob
        key = key_of(url)
        with self.cache.locked(key, patience.look):
            known = self.cache.remembered(key)
            with self._downloading(url, key, own, so_far, patience, explain) as download:
                validators = download.run(Validators(known.get("etag"), known.get("last_modified")))
                if validators is None:
                    if (blob := self.cache.blob(str(known["sha256"]))) is None:
                        raise ModelUnavailable(f"{url} was put out of the cache before it could be used; {MORE_ROOM}")
                    return blob
                if check is not None:
                    try:
                        check(self.cache.partial(key))
                    except ModelUnavailable:
                        download.discard()
                        raise
                path = self._verified(url, download, key, promised, so_far, patience)
            self.cache.remember(key, {"url": url, "sha256": path.name, "etag": validators.etag, "last_modified": validators.last_modified})
            return path

    def check_room(self, missing_bytes: int, name: str) -> None:
        """Check that the disk has room for these bytes, before they are downloaded.

        Raises:
            ModelUnavailable: It has not.
        """
        free = self.cache.free_bytes()
        if missing_bytes > free:
            raise ModelUnavailable(
                f"{name} needs {missing_bytes} more bytes in the cache of this device, whose disk has {free} bytes left; {MORE_ROOM}"
            )

    @contextmanager
    def _downloading(
        self, url: str, key: str, own: Own | None, so_far: Sequence[Path], patience: Patience, explain: Explain | None = None
    ) -> Iterator[Download]:
        """Open a download whose size limit is what the files `so_far` leave of the model's limit."""
        with self.client(own, patience) as client:
            download = Download(
                client,
                url,
                self.cache.partial(key),
                headers=own.headers() if own else {},
                max_bytes=max(0, self.max_bytes - sum(path.stat().st_size for path in so_far)),
                clock=self._clock,
                patience=patience,
                explain=explain,
            )
            try:
                yield download
            except OSError as error:
                if error.errno in FULL:
                    download.discard()  # a full disk would make the next job fail, too
                raise

    def _verified(self, url: str, download: Download, key: str, promised: str | None, so_far: Sequence[Path], patience: Patience) -> Path:
        partial = self.cache.partial(key)
        sha256 = hash_file(partial, lambda _done: patience.tick(1.0))
        if promised is not None and sha256 != promised:
            try:
                refuse_pointer(partial, url)
            finally:
                download.discard()
            raise ModelUnavailable(f"{url} gave a file with the SHA-256 {sha256}, but {promised} was promised: the file has changed")
        download.finished()
        path = self.cache.adopt(partial, sha256)
        self.cache.sweep()
        if self._cache_bytes is not None:
            self.cache.trim(self._cache_bytes, [path, *so_far])
        return path
