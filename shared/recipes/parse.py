"""From text to a recipe. Every error at once, each with its line, its key and the nearest known key."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from yaml.scanner import ScannerError

from shared.addresses import shown_address
from shared.errors import FieldError, InvalidInput, nearest
from shared.masking import without_logins
from shared.recipes.bounds import refuse_too_much
from shared.recipes.schema import ModelEntry, Recipe
from shared.recipes.text import Places, read_yaml
from shared.workloads import StopRule

MAX_RECIPE_BYTES = 16 * 2**20  # of a file on one's own disk
MAX_FIELDS = 100  # mistakes listed
MAX_SHOWN = 200  # characters of a key in what is said of it


def load_recipe(text: str, source: str = "recipe") -> Recipe:
    """Parse YAML (JSON is YAML) and validate it whole.

    Raises:
        InvalidInput: with one field per mistake; `path` is the dotted key, the message begins with its line.
    """
    places: Places | None
    try:
        content, places = read_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        if not isinstance(error, ScannerError):
            raise InvalidInput(f"{source} is not valid YAML: {error}") from error
        try:  # in JSON a character may be two escapes (`\\ud83d\\ude80`), which libyaml does not take
            content, places = from_json(text), None
        except ValueError:
            raise InvalidInput(f"{source} is not valid YAML: {error}") from error
    return parse_recipe(content, source=source, places=places)


def parse_recipe(content: Any, source: str = "recipe", places: Places | None = None) -> Recipe:
    """Validate a recipe that is already a mapping; see `load_recipe`."""
    if not isinstance(content, dict):
        raise InvalidInput(f"{source} must be a mapping of keys such as `model` and `on`, not {type(content).__name__}")
    if "service" in content:
        raise InvalidInput(
            f"{source} asks for a service under load (`service:`), which this version cannot measure yet; "
            "it measures models: `model` or `models`, and `on`"
        )
    refuse_too_much(content, source, places)
    try:
        return Recipe.model_validate_json(json.dumps(content, default=str))
    except (ValidationError, TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise InvalidInput(f"{source} cannot be read: {error}") from error
        items = error.errors(include_url=False)
        # A list whose items are wrong is also called too short; the items say it better.
        spoken_for = {item["loc"][:length] for item in items for length in range(len(item["loc"]))}
        items = [item for item in items if item["type"] != "too_short" or item["loc"] not in spoken_for]
        fields = [_field_error(item, places) for item in items[:MAX_FIELDS]]
        first = f"{fields[0].path}: {fields[0].message}" if fields[0].path else fields[0].message
        more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
        raise InvalidInput(f"{source} is not valid: {first}{more}", fields=fields) from error


def _field_error(item: Any, places: Places | None) -> FieldError:
    location = [
        part for part in item["loc"] if part not in ("str", "ModelEntry") and not str(part).startswith(("tuple[", "literal[", "function-"))
    ]
    path = ".".join(f"{part!s:.{MAX_SHOWN}}" for part in location)
    line = places.line(location) if places is not None else None
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = f"unknown key {str(location[-1])[:MAX_SHOWN]!r}: {nearest(str(location[-1]), _known_keys(location[:-1]))}"
    elif item["type"] not in ("missing", "value_error"):
        message = f"{message}, not {without_logins(repr(item['input'])):.80}"  # before the cut: what is left may end in a password
    return FieldError(path=path, message=f"line {line}: {message}" if line else message)


def _known_keys(location: list[Any]) -> list[str]:
    """Keys allowed at a place in a recipe."""
    here: type[BaseModel] = Recipe
    for part in location:
        if part == "models":
            return list(ModelEntry.model_fields)
        found = here.model_fields.get(str(part))
        default = found.default if found is not None else None
        if isinstance(default, BaseModel):
            here = type(default)
        elif part == "stop":
            here = StopRule
    return list(here.model_fields)


def model_name(source: str) -> str:
    """The file name by which reports call a model: the last part of its URL or path, without the query, of 255 characters at most."""
    shown = shown_address(source) if "://" in source else source  # one without a path is called by its host
    return (PurePath(shown.split("?", 1)[0].split("#", 1)[0].rstrip("/")).name or shown)[:255]
