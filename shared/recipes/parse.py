"""From text to a recipe. Every error at once, each with its line, its key and the nearest known key."""

from __future__ import annotations

import json
import re
from pathlib import PurePath
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from shared.addresses import shown_address
from shared.errors import FieldError, InvalidInput, nearest
from shared.recipes.schema import ModelEntry, Recipe
from shared.workloads import StopRule

MAX_RECIPE_BYTES = 16 * 2**20
MAX_DEPTH = 50
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


class _Loader(yaml.SafeLoader):
    """YAML whose booleans are `true` and `false` alone (1.2): the key `on` is a word, not a truth."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def load_recipe(text: str, source: str = "recipe") -> Recipe:
    """Parse YAML (JSON is YAML) and validate it whole.

    Raises:
        InvalidInput: with one field per mistake; `path` is the dotted key, the message begins with its line.
    """
    try:
        _refuse_what_grows(text)
        node = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader, see above)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{source} is not valid YAML: {error}") from error
    return parse_recipe(content, source=source, lines=_lines(node))


def parse_recipe(content: Any, source: str = "recipe", lines: dict[str, int] | None = None) -> Recipe:
    """Validate a recipe that is already a mapping; see `load_recipe`."""
    if not isinstance(content, dict):
        raise InvalidInput(f"{source} must be a mapping of keys such as `model` and `on`, not {type(content).__name__}")
    if "service" in content:
        raise InvalidInput(
            f"{source} asks for a service under load (`service:`), which this version cannot measure yet; "
            "it measures models: `model` or `models`, and `on`"
        )
    try:
        return Recipe.model_validate_json(json.dumps(content, default=str))
    except (ValidationError, TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise InvalidInput(f"{source} cannot be read: {error}") from error
        items = error.errors(include_url=False)
        # A list whose items are wrong is also called too short; the items say it better.
        fields = [
            _field_error(item, lines or {})
            for item in items
            if item["type"] != "too_short"
            or not any(other is not item and other["loc"][: len(item["loc"])] == item["loc"] for other in items)
        ]
        first = f"{fields[0].path}: {fields[0].message}" if fields[0].path else fields[0].message
        more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
        raise InvalidInput(f"{source} is not valid: {first}{more}", fields=fields) from error


def _field_error(item: Any, lines: dict[str, int]) -> FieldError:
    location = [
        part for part in item["loc"] if part not in ("str", "ModelEntry") and not str(part).startswith(("tuple[", "literal[", "function-"))
    ]
    path = ".".join(str(part) for part in location)
    line = next((lines[key] for key in _prefixes(path) if key in lines), None)
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = f"unknown key {location[-1]!r}: {nearest(str(location[-1]), _known_keys(location[:-1]))}"
    elif item["type"] not in ("missing", "value_error"):
        message = f"{message}, not {item['input']!r:.80}"
    return FieldError(path=path, message=f"line {line}: {message}" if line else message)


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


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


def _lines(node: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    """Dotted key -> line, counted from 1."""
    found: dict[str, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{prefix}.{key.value}" if prefix else str(key.value)
            found[path] = key.start_mark.line + 1
            found |= _lines(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            path = f"{prefix}.{index}"
            found[path] = value.start_mark.line + 1
            found |= _lines(value, path)
    return found


def _refuse_what_grows(text: str) -> None:
    """Aliases expand: nine lines of them can ask for gigabytes. Depth costs its square: 20 000 brackets take a minute to read."""
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise ValueError("aliases (`*name`) are not accepted; write the value out")  # noqa: TRY004 (the text is wrong, no type)
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} lists and mappings inside one another; no recipe needs that")


def model_name(source: str) -> str:
    """The file name by which reports call a model: the last part of its URL or path, without the query, of 255 characters at most."""
    shown = shown_address(source) if "://" in source else source  # one without a path is called by its host
    return (PurePath(shown.split("?", 1)[0].split("#", 1)[0].rstrip("/")).name or shown)[:255]
