"""From a recipe file to a campaign: models on this machine's disk travel along, by content."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli import zoo
from cli.client import Client, sha256_of
from cli.external_data import external_files, value_files
from cli.terminal import err, say
from shared.errors import FieldError, InvalidInput
from shared.recipes import ModelEntry, Recipe, load_recipe
from shared.recipes.parse import MAX_RECIPE_BYTES
from shared.workloads import Companion

REMOTE = ("http", "https", "hf", "sha256")  # fetched by the worker, or already with the orchestrator
Sent = Callable[[int], None]


class Uploads(Protocol):
    """Where files go; `Client` is one."""

    def exists(self, path: str) -> bool: ...
    def upload_model(self, file: Path, sha256: str, sent: Sent) -> None: ...


def read_recipe(path: Path) -> Recipe:
    """A recipe from a file.

    Raises:
        InvalidInput: it cannot be read, or something in it is wrong.
    """
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InvalidInput(f"{path} is larger than {MAX_RECIPE_BYTES // 2**20} MB; is it a recipe?")
        return load_recipe(path.read_text(encoding="utf-8"), source=str(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text (UTF-8): is it a recipe?") from error


def models_folder(beside: Path) -> Path:
    """Where models known by name are: `recipes/models` of this project, or `models` beside a recipe that lives elsewhere."""
    checkout = Path(__file__).resolve().parent.parent / "recipes"
    return (checkout if checkout.is_dir() else beside) / "models"


def find_model(source: str, recipe_folder: Path) -> Path | None:
    """The file on this machine that a recipe's model means; None for one that lives elsewhere.

    A path counts from where the command runs, then from the recipe's own folder.

    Raises:
        InvalidInput: it is written as a path, and there is no such file; or it is a folder.
    """
    scheme, separator, _ = source.partition(":")
    if separator and scheme in REMOTE:
        return None
    if separator and scheme == "file":
        candidates = [Path(unquote(urlsplit(source).path))]
    else:
        folder = models_folder(recipe_folder)
        candidates = [Path(source).expanduser(), recipe_folder / source, folder / source, folder / f"{source}.onnx"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if separator and scheme == "file":
        return None  # a path on the worker's disk, which only the worker can see
    if zoo.is_known(source):
        return zoo.make(source, models_folder(recipe_folder), say)
    if "/" in source or source.startswith((".", "~")):
        what = "is a folder; name the model's file" if candidates[0].is_dir() else "does not exist on this machine"
        message = f"model {source!r} {what}. A model is a path, a URL, or one of the names {', '.join(zoo.NAMES)}"
        raise InvalidInput(message, fields=[FieldError("model", message)])
    return None  # a name that the orchestrator may know


def prepare(recipe: Recipe, recipe_folder: Path) -> list[tuple[ModelEntry, Path | None]]:
    """Each model of the recipe with its file on this machine, if it has one; networks known by name are made here."""
    return [(entry, find_model(entry.model, recipe_folder) or find_by_content(entry, recipe_folder)) for entry in recipe.entries()]


def find_by_content(entry: ModelEntry, recipe_folder: Path) -> Path | None:
    """The file that a recorded recipe (`sha256:…`, as in a run folder) was made with, if this machine still has it.

    So a recorded run can be repeated on an orchestrator that never saw the model.
    """
    wanted = entry.model.removeprefix("sha256:")
    if wanted == entry.model or entry.name is None:
        return None
    folder = models_folder(recipe_folder)
    if zoo.is_known(Path(entry.name).stem):
        zoo.make(Path(entry.name).stem, folder, say)
    candidates = (recipe_folder / entry.name, folder / entry.name, Path(entry.name))
    return next((file for file in candidates if file.is_file() and sha256_of(file) == wanted), None)


def submit(client: Client, recipe: Recipe, recipe_folder: Path) -> dict[str, Any]:
    """Upload what the orchestrator does not have yet, then submit.

    Returns:
        The API's answer: `campaign_id`, `total_jobs`, `jobs`, `warnings`.
    """
    body = recipe.model_dump(mode="json", exclude_unset=True)
    prepared = prepare(recipe, recipe_folder)
    if any(file is not None for _, file in prepared):
        body.pop("model", None)
        body["models"] = [entry_body(client, entry, file, recipe, recipe_folder) for entry, file in prepared]
    # A key of its own: should the answer be lost on the way, sending it again is the same campaign.
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    answer: dict[str, Any] = client.post("campaigns", body, headers=headers)
    return answer


def entry_body(uploads: Uploads, entry: ModelEntry, file: Path | None, recipe: Recipe, recipe_folder: Path) -> dict[str, Any]:
    """A model entry as the orchestrator gets it; a local file is uploaded first, with all that belongs beside it, and named by its hash."""
    body: dict[str, Any] = entry.model_dump(mode="json", exclude_unset=True)
    if file is None:
        return body
    beside = {path.relative_to(file.parent).as_posix(): path for path in external_files(file)}
    beside = value_files(recipe, entry, [recipe_folder, file.parent]) | beside
    sha256 = upload(uploads, file)
    companions = [Companion(name=name, sha256=upload(uploads, path), size=path.stat().st_size) for name, path in beside.items()]
    body |= {"model": f"sha256:{sha256}", "name": entry.name or file.name, "sha256": sha256, "size": file.stat().st_size}
    if companions:
        body["companions"] = [companion.model_dump(mode="json") for companion in companions]
    return body


def upload(uploads: Uploads, file: Path) -> str:
    """The file's SHA-256, once the orchestrator has it."""
    sha256 = sha256_of(file)
    if not uploads.exists(f"models/{sha256}"):
        with _bar(file) as sent:
            uploads.upload_model(file, sha256, sent)
    return sha256


@contextmanager
def _bar(file: Path) -> Iterator[Sent]:
    if not err.is_terminal:
        say(f"Uploading {file.name} ({file.stat().st_size / 2**20:.1f} MB)")
        yield lambda _: None
        return
    columns = (
        TextColumn("Uploading {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(file.name, total=file.stat().st_size)
        yield lambda count: progress.advance(task, count)
