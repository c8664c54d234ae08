"""Asks the orchestrator which workers can do the work of a recipe, without submitting it or uploading its models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.client import Client, sha256_of
from cli.errors import ApiError
from cli.submission import entry_body, prepare
from cli.uploads import Sent
from shared.snapshots import CONFIG

if TYPE_CHECKING:
    from shared.recipes import Recipe

FORBIDDEN = 403


class ConfigsOnly:
    """Uploads only the `config.json` of a snapshot, which says how much memory the model takes. It implements `cli.uploads.Uploads`."""

    def __init__(self, client: Client, configs: frozenset[str]) -> None:
        """Take the SHA-256 of each `config.json` that may be uploaded."""
        self._client, self._configs = client, configs

    def exists(self, path: str) -> bool:
        """Return whether a file need not be uploaded."""
        if path.rpartition("/")[2] not in self._configs:
            return True
        try:
            return self._client.exists(path)
        except ApiError as error:
            if error.http_status == FORBIDDEN:  # a viewer may not read models
                return True
            raise

    def upload_model(self, file: Path, sha256: str, sent: Sent) -> None:
        self._client.upload_model(file, sha256, sent)


def recipe_body(client: Client, recipe: Recipe, recipe_folder: Path) -> dict[str, Any]:
    """Return a recipe as the orchestrator reads it. A model of this machine is described by its hashes."""
    body = recipe.model_dump(mode="json", exclude_unset=True)
    prepared = prepare(recipe, recipe_folder)
    if any(file is not None for _, file in prepared):
        body.pop("model", None)
        configs = frozenset(sha256_of(file) for _, file in prepared if file is not None and file.name == CONFIG)
        uploads = ConfigsOnly(client, configs)
        body["models"] = [entry_body(uploads, recipe, index, entry, file, recipe_folder) for index, (entry, file) in enumerate(prepared)]
    return body


def ask(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    """Return what each worker can do of a recipe, or of a job (`{"job_id": …}`). All pages are read."""
    answer: dict[str, Any] = client.post("workers/compatibility", body)
    cursor = answer.pop("next_cursor")
    while cursor:
        page = client.post(f"workers/compatibility?cursor={cursor}", body)
        answer["workers"] += page["workers"]
        answer["able"] += page["able"]
        answer["count"] += page["count"]
        cursor = page["next_cursor"]
    return answer
