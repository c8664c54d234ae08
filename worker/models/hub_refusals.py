"""Says in words for people why a hub does not give a model. A hub names the reason in the header `X-Error-Code`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.hub import HubFile, HubSnapshot
from worker.models.downloads import Own

if TYPE_CHECKING:
    import httpx

TOKEN = "HF_TOKEN of this worker"  # noqa: S105 - the name of the setting
BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105 - what the hub says


def refusal_of(asked: HubSnapshot | HubFile, hub: Own, response: httpx.Response) -> str | None:
    """Return why a hub refused, or None if its answer does not say it."""
    code, said = response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", "")
    shown = f"hf://{asked.repo}@{asked.revision}: the hub answered {response.status_code}"
    page = f"{hub.address.rstrip('/')}/{asked.repo}"
    if response.status_code == 401 and said == BAD_TOKEN:
        return f"{shown}: it does not know {TOKEN}; set a token that is valid"
    if code == "GatedRepo":
        if hub.token is None:
            return f"{shown}: the repository is gated; accept its terms at {page}, and set {TOKEN} to a token of that account"
        return f"{shown}: the repository is gated, and the account of {TOKEN} has no access; ask for it at {page}"
    if code == "RevisionNotFound":
        return f"{shown}: the repository {asked.repo} has no revision {asked.revision!r}; give a branch, a tag or a commit that {page} has"
    if code == "EntryNotFound":
        return f"{shown}: the repository has no such file at this revision; look for its path at {page}"
    if code == "RepoNotFound" or response.status_code == 401:
        private = f"set {TOKEN} if it is private" if hub.token is None else f"or the account of {TOKEN} may not read it"
        return f"{shown}: there is no repository {asked.repo} on {hub.address}; check its name, {private}"
    if said and response.status_code < 500:
        return f"{shown}: {said:.300}"
    return None


def unreachable(url: str, error: httpx.TransportError) -> str:
    """Return that a hub does not answer."""
    # Imported here, because a worker without a job must not hold an HTTP client in memory.
    from shared.web import by_way_of

    return (
        f"the hub cannot be reached at {url}{by_way_of(url)} ({type(error).__name__}: {error}): check HF_ENDPOINT and this device's network"
    )
