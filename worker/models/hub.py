"""Fetches snapshots of language models from a Hugging Face hub: all files of a repository that are the model, at one commit.

Two calls of the hub's API are used: one names the commit and the size and hash of each file, the other gives a file. What is known of a
file by its hash is not asked for again, so a snapshot that is in the cache needs no network.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import ModelInvalid, ModelUnavailable
from shared.external_data import check_location
from shared.hub import HubSnapshot
from shared.snapshots import CONFIG, is_snapshot, parts_of
from worker.models.cache import BLOCK, key_of
from worker.models.downloads import Downloads, Own
from worker.models.hub_listing import HubListing, ListedFile, listing_of
from worker.models.hub_refusals import refusal_of, unreachable

if TYPE_CHECKING:
    import httpx

    from worker.models.transport import Patience

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 2**20  # of a listing; a repository of 10 000 files has 2 MB


@dataclass(frozen=True)
class HubModel:
    """Holds the files of a snapshot in the cache.

    Attributes:
        origin: The repository and the commit that they come from.
        config: The file that stands for the model.
        companions: The other files by their names.
        warning: What is doubtful about it, or an empty text.
    """

    origin: str
    config: Path
    companions: Mapping[str, Path]
    warning: str


class HubSnapshots:
    """Fetches snapshots from the hub that the worker's settings name."""

    def __init__(self, downloads: Downloads, hub: Own) -> None:
        self._downloads, self._hub = downloads, hub
        self._cache = downloads.cache

    def fetch(self, source: str, name: str, patience: Patience) -> HubModel:
        """Return the files of a snapshot, each verified against the hash that the hub names.

        Raises:
            ModelUnavailable: It could not be fetched. The message says why and what to do.
            ModelInvalid: The repository holds no model that a worker opens.
        """
        try:
            asked = HubSnapshot.parse(source)
        except ValueError as error:
            raise ModelUnavailable(f"{source}: {error}") from error
        listing, warning = self._listing(asked, patience)
        origin = asked.at(listing.commit)
        if CONFIG not in listing.files:
            raise ModelInvalid(f"{origin} has no {CONFIG}, so it is no snapshot of a language model; give another repository")
        wanted = [CONFIG, *parts_of((file for file in listing.files if file != CONFIG), str(origin))]
        self._check_room(origin, [listing.files[file] for file in wanted])
        paths: dict[str, Path] = {}
        total = sum(listing.files[file].size for file in wanted)
        for file in wanted:
            done = sum(listing.files[one].size for one in paths)
            with patience.of_part(done, listing.files[file].size, total):
                paths[file] = self._file(origin, file, listing.files[file], list(paths.values()), patience)
            if file == CONFIG and not is_snapshot(paths[file]):
                raise ModelInvalid(f"{CONFIG} of {origin} names no `model_type`, so it is no snapshot of a language model")
        self._cache.remember(self._key(asked), {**listing.as_json(), "sha256": paths[CONFIG].name})
        return HubModel(str(origin), paths.pop(CONFIG), paths, warning)

    def _key(self, asked: HubSnapshot) -> str:
        return key_of(f"snapshot {self._hub.address.rstrip('/')} {asked}")

    def _listing(self, asked: HubSnapshot, patience: Patience) -> tuple[HubListing, str]:
        """Return the files of a revision, and a warning if the hub could not be asked which commit that is now."""
        known = listing_of(self._cache.remembered(self._key(asked)))
        if asked.is_commit and known is not None:
            return known, ""
        try:
            return self._asked(asked, patience), ""
        except _Away as error:
            if known is None:
                raise ModelUnavailable(str(error)) from error
            warning = f"{error}; {asked} is measured as it was when it was last fetched, at the commit {known.commit}"
            log.warning("%s", warning)
            return known, warning

    def _asked(self, asked: HubSnapshot, patience: Patience) -> HubListing:
        import httpx

        from worker.models.transport import Refused

        url = asked.listing_url(self._hub.address)
        try:
            with (
                self._downloads.client(self._hub, patience) as client,
                client.stream("GET", url, headers=self._hub.headers()) as response,
            ):
                content = bytearray()
                for block in response.iter_bytes():
                    content += block
                    if len(content) > MOST_BYTES:
                        raise ModelUnavailable(f"{url} answered with more than {MOST_BYTES} bytes; is HF_ENDPOINT the address of a hub?")
        except httpx.TransportError as error:
            raise _Away(unreachable(url, error)) from error
        except (httpx.TooManyRedirects, httpx.DecodingError, httpx.InvalidURL, Refused) as error:
            raise ModelUnavailable(f"{url} {error}") from error
        if response.status_code == 429 or response.status_code >= 500:
            raise _Away(f"the hub answered {response.status_code} {response.reason_phrase} at {url}: try again later")
        if response.status_code != 200:
            raise ModelUnavailable(self._refusal(asked, response))
        found = listing_of(_json(bytes(content)))
        if found is None:
            raise ModelUnavailable(f"{url} answered, but not as a hub does: is HF_ENDPOINT ({self._hub.address}) right?")
        return found

    def _refusal(self, asked: HubSnapshot, response: httpx.Response) -> str:
        return refusal_of(asked, self._hub, response) or f"{asked}: the hub answered {response.status_code} {response.reason_phrase}"

    def _check_room(self, origin: HubSnapshot, files: list[ListedFile]) -> None:
        """Check that the snapshot is not too large, before anything is downloaded."""
        total = sum(file.size for file in files)
        if total > self._downloads.max_bytes:
            raise ModelUnavailable(
                f"{origin} has {total} bytes: FLEETMARK_WORKER_MAX_MODEL_BYTES of this worker allows {self._downloads.max_bytes}"
            )
        missing = sum(file.size for file in files if self._known(file) is None)
        self._downloads.check_room(missing, str(origin))

    def _known(self, file: ListedFile) -> Path | None:
        """Return a file that is in the cache, by its hash."""
        if file.sha256 is not None:
            return self._cache.blob(file.sha256)
        known = self._cache.remembered(_git_key(file))
        return self._cache.blob(str(known["sha256"])) if known else None

    def _file(self, origin: HubSnapshot, name: str, file: ListedFile, so_far: list[Path], patience: Patience) -> Path:
        check_location(name, str(origin))
        if (known := self._known(file)) is not None:
            return known
        url = origin.file_url(self._hub.address, name)

        def check(path: Path) -> None:
            if path.stat().st_size != file.size:
                raise ModelUnavailable(f"{url} gave {path.stat().st_size} bytes, but the hub lists {file.size}: fetch it again")
            if file.sha256 is None and (found := _git_hash(path)) != file.git_sha1:
                raise ModelUnavailable(
                    f"{url} gave a file with git's hash {found}, but the hub lists {file.git_sha1}: the file has changed"
                )

        path = self._downloads.by_url(
            url, self._hub, file.sha256, so_far, patience, lambda response: refusal_of(origin, self._hub, response), check
        )
        if file.sha256 is None:
            self._cache.remember(_git_key(file), {"sha256": path.name})
        return path


class _Away(Exception):
    """Is raised if the hub does not answer, or has no time. The text says so."""


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _git_key(file: ListedFile) -> str:
    return key_of(f"git {file.git_sha1} {file.size}")


def _git_hash(path: Path) -> str:
    """Return the hash by which git knows a file: SHA-1 of its size and its content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
