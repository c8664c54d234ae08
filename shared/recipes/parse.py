"""Reads recipes. All mistakes are told at once, each with its line, its key and the nearest known key."""

from __future__ import annotations

import json
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import from_json
from yaml.scanner import ScannerError

from shared.errors import FieldError, InvalidInput
from shared.mistakes import not_valid, path_of, unknown_key, with_value
from shared.recipes.bounds import refuse_too_much
from shared.recipes.keys import known_keys
from shared.recipes.schema import Recipe
from shared.recipes.text import Places, read_yaml

MAX_RECIPE_BYTES = 16 * 2**20  # of a file on one's own disk


def load_recipe(text: str, source: str = "recipe") -> Recipe:
    """Returns the recipe that a YAML text holds (JSON is YAML), validated whole.

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
    """Returns the recipe that a mapping holds; see `load_recipe`."""
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
        raise not_valid(source, error.errors(include_url=False), lambda item: field_error(item, places)) from error


def field_error(item: Any, places: Places | None) -> FieldError:
    """Returns one of pydantic's errors as its sender is told of it: the dotted key, and what is wrong there."""
    location = [
        part for part in item["loc"] if part not in ("str", "ModelEntry") and not str(part).startswith(("tuple[", "literal[", "function-"))
    ]
    line = places.line(location) if places is not None else None
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = unknown_key(location[-1], known_keys(Recipe, location[:-1]))
    elif item["type"] not in ("missing", "value_error"):
        message = with_value(message, item["input"])
    return FieldError(path=path_of(location), message=f"line {line}: {message}" if line else message)
