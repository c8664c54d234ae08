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
from shared.errors import FieldError, InvalidInput
from shared.mistakes import not_valid, path_of, unknown_key, with_value
from shared.recipes.bounds import refuse_too_much
from shared.recipes.schema import ModelEntry, Recipe
from shared.recipes.text import Places, read_yaml
from shared.workloads import StopRule

MAX_RECIPE_BYTES = 16 * 2**20  # of a file on one's own disk


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
        raise not_valid(source, error.errors(include_url=False), lambda item: _field_error(item, places)) from error


def _field_error(item: Any, places: Places | None) -> FieldError:
    location = [
        part for part in item["loc"] if part not in ("str", "ModelEntry") and not str(part).startswith(("tuple[", "literal[", "function-"))
    ]
    line = places.line(location) if places is not None else None
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = unknown_key(location[-1], _known_keys(location[:-1]))
    elif item["type"] not in ("missing", "value_error"):
        message = with_value(message, item["input"])
    return FieldError(path=path_of(location), message=f"line {line}: {message}" if line else message)


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
