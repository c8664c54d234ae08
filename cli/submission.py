"""Submits a recipe file as a campaign. Models on this machine are uploaded first and are then identified by their SHA-256."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import zoo
from cli.client import Client, sha256_of
from cli.datasets import find_datasets, with_uploads
from cli.external_data import external_files, value_files
from cli.prompt_files import with_prompts
from cli.terminal import say
from cli.uploads import Uploads, upload
from shared.content import Content
from shared.controls import as_one_line
from shared.errors import FieldError, InvalidInput
from shared.installation import SHIPPED, in_clone
from shared.lfs import MAX_POINTER_BYTES, WHAT_TO_DO, is_pointer
from shared.model_packages import model_file, shown_path
from shared.sources import UPLOAD, file_path, short_name, upload_of, upload_source

if TYPE_CHECKING:
    from shared.recipes import ModelEntry, Recipe

REMOTE = ("http", "https", "hf", "sha256")  # sources that the worker fetches, or that the orchestrator has already


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a file.

    Raises:
        InvalidInput: the file cannot be read, or is not a valid recipe; or an installed package brings a capability that cannot be used.
    """
    # Imported here, because only recipes need pydantic, which is slow to import.
    from shared.capabilities import add_engines_of_packages
    from shared.recipes import load_recipe
    from shared.recipes.parse import MAX_RECIPE_BYTES

    add_engines_of_packages()
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InvalidInput(f"{path} is larger than {MAX_RECIPE_BYTES // 2**20} MB; is it a recipe?")
        return load_recipe(path.read_text(encoding="utf-8"), source=str(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text (UTF-8): is it a recipe?") from error


def models_folder(beside: Path) -> Path:
    """Return the folder of models known by name.

    In a clone of this project this is `recipes/models`. Otherwise it is the subfolder `models` of the folder `beside`, or of the current
    folder for a recipe that came with an installed package, because the user may not be able to write there.
    """
    if in_clone():
        return SHIPPED / "models"
    return (Path() if beside.resolve() == SHIPPED else beside) / "models"


def find_model(source: str, recipe_folder: Path) -> Path | None:
    """Return the file on this machine that the source of a model names, or None if the model is not on this machine.

    Paths are relative to the recipe's folder, not to the current one. So a recipe always means the same file. A plain name is searched
    first in the recipe's folder, then in the folder of models known by name. A network known by name is made if it is not there.

    Raises:
        InvalidInput: the source is written as a path, but there is no such file or it is a folder; or the file is only in the current
            folder.
    """
    scheme, separator, _ = source.partition(":")
    if separator and scheme.lower() in REMOTE:
        return None
    if separator and scheme.lower() == "file":
        return _of_file_url(source)
    here = model_file(recipe_folder / Path(source).expanduser())
    if here.is_file():
        return here
    if not _is_path(source):
        folder = models_folder(recipe_folder)
        if (found := next((file for file in (folder / source, folder / f"{source}.onnx") if file.is_file()), None)) is not None:
            return found
        if zoo.is_known(source):
            return zoo.make(source, folder, say)
    elsewhere = Path(source)
    if elsewhere.is_file():  # a file in the current folder is refused: the recipe would mean different files in different folders
        raise _no_model(
            source,
            f"is not in the recipe's folder, {_shown(recipe_folder)}, from where a path counts. The current folder has a file of this "
            f"name; if that one is meant, write its whole path, {str(elsewhere.resolve())!r}, or put the recipe beside it",
        )
    if _is_path(source):
        what = "is a folder; name the model's file" if here.is_dir() else f"does not exist on this machine ({_shown(here)})"
        raise _no_model(source, f"{what}. A model is a path from the recipe's folder, a URL, or one of the names {', '.join(zoo.NAMES)}")
    return None  # a name that the orchestrator may know


def _is_path(source: str) -> bool:
    """Return whether a source is written as a path and not as a plain name."""
    return "/" in source or source.startswith((".", "~")) or bool(Path(source).anchor)


def _of_file_url(source: str) -> Path | None:
    try:
        file = model_file(Path(file_path(source)))
    except ValueError as error:
        raise _no_model(source, f"is no file: {error}") from error
    return file if file.is_file() else None  # otherwise it is a path on the worker's disk


def _shown(path: Path) -> str:
    return str(path.absolute())


def _no_model(source: str, why: str) -> InvalidInput:
    message = f"model {source!r} {why}"
    return InvalidInput(message, fields=[FieldError("model", message)])


def prepare(recipe: Recipe, recipe_folder: Path) -> list[tuple[ModelEntry, Path | None]]:
    """Return each model of the recipe, with its file if that is on this machine. Networks known by name are made here.

    Raises:
        InvalidInput: files of models are missing. `fields` lists all of these models.
    """
    prepared: list[tuple[ModelEntry, Path | None]] = []
    mistakes: list[FieldError] = []
    for index, entry in enumerate(recipe.entries()):
        try:
            prepared.append((entry, find_model(entry.model, recipe_folder) or find_by_content(recipe, index, entry, recipe_folder)))
        except InvalidInput as error:
            mistakes.append(FieldError("model" if recipe.models is None else f"models.{index}", error.detail))
    if mistakes:
        raise InvalidInput(mistakes[0].message, fields=mistakes)
    return prepared


def find_by_content(recipe: Recipe, index: int, entry: ModelEntry, recipe_folder: Path) -> Path | None:
    """Return the file with the SHA-256 that a recorded recipe (`sha256:…`, as in a run folder) names, if this machine still has it.

    So a recorded run can be repeated on an orchestrator that does not have the model. The companion files must have the recorded SHA-256
    too.

    Args:
        index: the index of `entry` among the recipe's entries.
    """
    if not entry.model.startswith(UPLOAD):
        return None
    try:
        wanted, name = upload_of(entry.model)
    except ValueError:  # the orchestrator will report this
        return None
    name = entry.name or name
    if name is None:
        return None
    folder = models_folder(recipe_folder)
    if zoo.is_known(Path(name).stem):
        zoo.make(Path(name).stem, folder, say)
    candidates = [model_file(path) for path in (recipe_folder / name, folder / name, Path(name))]
    same = (file for file in candidates if file.is_file() and sha256_of(file) == wanted)
    return next((file for file in same if _has_recorded_companions(file, recipe, index, entry, recipe_folder)), None)


def _has_recorded_companions(file: Path, recipe: Recipe, index: int, entry: ModelEntry, recipe_folder: Path) -> bool:
    if not entry.companions:
        return True
    try:
        found = companion_files(file, recipe, index, entry, recipe_folder)
    except InvalidInput:
        return False
    return all(one.name in found and sha256_of(found[one.name]) == one.sha256 for one in entry.companions)


def companion_files(file: Path, recipe: Recipe, index: int, entry: ModelEntry, recipe_folder: Path) -> dict[str, Path]:
    """Return the files that are uploaded with a model, by the names under which the worker puts them into the model's folder.

    Files with input values are searched in the recipe's folder and then in the model's folder, weights only in the model's folder.

    Raises:
        InvalidInput: a file does not exist, or is outside these folders.
    """
    weights = {path.relative_to(file.parent).as_posix(): path for path in external_files(file)}
    return value_files(recipe, index, entry, [recipe_folder, file.parent]) | weights


def submit(client: Client, recipe: Recipe, recipe_folder: Path, *, wait_for_device: bool = False) -> dict[str, Any]:
    """Upload the files that the orchestrator does not have yet, then submit the recipe.

    Args:
        wait_for_device: whether a device that the recipe names may register later, whatever the recipe says.

    Returns:
        The API's answer: `campaign_id`, `total_jobs`, `jobs`, `warnings`.
    """
    body = with_prompts(recipe.model_dump(mode="json", exclude_unset=True), recipe_folder)
    if wait_for_device:
        body["wait_for_device"] = True
    datasets = find_datasets(recipe, recipe_folder)
    prepared = prepare(recipe, recipe_folder)
    with_uploads(body, {source: _uploaded(client, path) for source, path in datasets.items()})
    if any(file is not None for _, file in prepared):
        body.pop("model", None)
        body["models"] = [entry_body(client, recipe, index, entry, file, recipe_folder) for index, (entry, file) in enumerate(prepared)]
    # With this key, a request that is sent again because its answer was lost does not create a second campaign.
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    answer: dict[str, Any] = client.post("campaigns", body, headers=headers)
    return answer


def _uploaded(uploads: Uploads, file: Path) -> str:
    """Upload a file that is no model, and return how a recipe names it."""
    sha256 = sha256_of(file)
    upload(uploads, file, sha256)
    return upload_source(sha256, shown_name(file))


def entry_body(uploads: Uploads, recipe: Recipe, index: int, entry: ModelEntry, file: Path | None, recipe_folder: Path) -> dict[str, Any]:
    """Return a model entry in the form for the orchestrator. A local file and its companions are uploaded first.

    Args:
        index: the index of `entry` among the recipe's entries.
        file: the model's file, or None if it is not on this machine.

    Raises:
        InvalidInput: the file or a companion differs from the entry's SHA-256 or size, or is a Git LFS pointer.
    """
    body: dict[str, Any] = entry.model_dump(mode="json", exclude_unset=True)
    if file is None:
        return body
    _refuse_pointer(entry, file)
    beside = companion_files(file, recipe, index, entry, recipe_folder)
    for path in beside.values():
        _refuse_pointer(entry, path)
    model, companions = _described(file), {name: _described(path) for name, path in beside.items()}
    _check_promises(entry, model, companions)
    for path, content in zip((file, *beside.values()), (model, *companions.values()), strict=True):
        upload(uploads, path, content.sha256)
    body |= {"model": upload_source(model.sha256), "name": entry.name or shown_name(file), "sha256": model.sha256, "size": model.size}
    if companions:
        body["companions"] = [{"name": name, "sha256": content.sha256, "size": content.size} for name, content in companions.items()]
    return body


def shown_name(file: Path) -> str:
    """Return the name of a file in a form that can be displayed and sent. File systems allow names that are not valid text."""
    return short_name(as_one_line(shown_path(file).name))


def _described(file: Path) -> Content:
    return Content(sha256_of(file), file.stat().st_size)


def _check_promises(entry: ModelEntry, model: Content, companions: Mapping[str, Content]) -> None:
    """Check that the files have the SHA-256 and size that the entry gives.

    Raises:
        InvalidInput: a file differs, or a companion in the entry is not a file of the model.
    """
    _check(entry.model, model, entry.sha256, entry.size)
    for promised in entry.companions:
        if promised.name not in companions:
            raise _no_model(entry.model, f"does not name the promised companion {promised.name!r} as a file of its weights")
        _check(f"{promised.name} beside {entry.model}", companions[promised.name], promised.sha256, promised.size)


def _check(what: str, found: Content, sha256: str | None, size: int | None) -> None:
    if sha256 not in (None, found.sha256):
        raise _no_model(what, f"is not the promised file: it has the SHA-256 {found.sha256}, not {sha256}")
    if size not in (None, found.size):
        raise _no_model(what, f"is not the promised file: it has {found.size} bytes, not {size}")


def _refuse_pointer(entry: ModelEntry, file: Path) -> None:
    with file.open("rb") as stream:
        if is_pointer(stream.read(MAX_POINTER_BYTES + 1)):
            raise _no_model(entry.model, f"cannot be measured: {file} {WHAT_TO_DO}")
