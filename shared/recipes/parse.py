"""Reads and validates recipes. All mistakes are reported at once, with line and key. For an unknown key, the nearest known one is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from yaml.scanner import ScannerError

from shared.capabilities import resolve
from shared.errors import FieldError, InvalidInput, nearest
from shared.jobs import DEFAULT_REPEATS
from shared.json_text import RepeatedKey, read_json_text
from shared.kinds.registry import KINDS
from shared.masking import without_logins
from shared.mistakes import MAX_FIELDS, not_valid, path_of, unknown_key, with_value
from shared.recipes.bounds import refuse_too_much
from shared.recipes.forms import FORMS
from shared.recipes.hub_addresses import wrong_hub_addresses
from shared.recipes.keys import is_by_name, section
from shared.recipes.other_frameworks import other_form, why_refused
from shared.recipes.other_tools import keys_that_fit, place_of
from shared.recipes.schema import Recipe
from shared.recipes.service_words import in_our_words
from shared.recipes.services import TAGGED, UNKNOWN_TYPE
from shared.recipes.text import Places, explained, read_yaml
from shared.services.native_tools import TOOLS
from shared.services.registry import CLIENT_TYPES, SERVICES

MAX_RECIPE_BYTES = 16 * 2**20  # for a recipe file on the local disk


def load_recipe(text: str, source: str = "recipe") -> Recipe:
    """Return the validated recipe in a YAML text. JSON is accepted too, because it is YAML.

    Args:
        source: the name of the text, which begins error messages.

    Raises:
        InvalidInput: the text is not a valid recipe. `fields` has one item per mistake: its dotted key, and a message that begins with
            the line if it is known.
    """
    places: Places | None
    try:
        content, places = read_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        if not isinstance(error, ScannerError):
            raise InvalidInput(f"{source} is not valid YAML: {explained(error, text)}") from error
        try:  # JSON may write one character as two escapes (`\\ud83d\\ude80`), which libyaml does not accept
            content, places = read_json_text(text), None
        except RepeatedKey as repeated:
            raise InvalidInput(f"{source} is not valid: {repeated}") from repeated
        except ValueError:
            raise InvalidInput(f"{source} is not valid YAML: {explained(error, text)}") from error
    return parse_recipe(content, source=source, places=places)


def parse_recipe(content: Any, source: str = "recipe", places: Places | None = None) -> Recipe:
    """Return the validated recipe in a mapping; see `load_recipe`."""
    if content is None:
        raise InvalidInput(f"{source} is empty; a recipe says what it measures and where, with keys such as `model` and `on`")
    if not isinstance(content, dict):
        raise InvalidInput(f"{source} must be a mapping of keys such as `model` and `on`, not {type(content).__name__}")
    refuse_too_much(content, source, places)
    if found := other_form(content, [mark for kind in KINDS.values() for mark in kind.marks]):
        key, message = found
        field = FieldError(path=key, message=_with_line(message, [key], places))
        raise InvalidInput(f"{source} is not valid: {field.path}: {field.message}", fields=[field])
    content = _with_defaults(in_our_words(content))
    try:
        recipe = Recipe.model_validate_json(json.dumps(content, default=str))
    except (ValidationError, TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise InvalidInput(f"{source} cannot be read: {error}") from error
        raise not_valid(source, _causes(error.errors(include_url=False)), lambda item: field_error(item, places, content)) from error
    if wrong := list(wrong_hub_addresses(recipe)):
        fields = [FieldError(path_of(place), _with_line(message, place, places)) for place, message in wrong[:MAX_FIELDS]]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise InvalidInput(f"{source} is not valid: {fields[0].path}: {fields[0].message}{more}", fields=fields)
    return recipe


def _causes(items: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Return the mistakes without those that only follow from a type of service that is not known."""
    if not any(item["type"] == UNKNOWN_TYPE and item["loc"][:1] == ("service",) for item in items):
        return list(items)
    follow = (("on",), ("client",))
    return [item for item in items if item["loc"] not in follow or item["type"] not in ("missing", UNKNOWN_TYPE)]


def _with_line(message: str, location: Sequence[str | int], places: Places | None) -> str:
    line = places.line(location) if places is not None else None
    return f"line {line}: {message}" if line else message


def _with_defaults(content: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with the defaults of its kind of work, as far as they differ from kind to kind."""
    marks = [key for kind in KINDS.values() for key in kind.marks if key in content]
    kinds = [kind for kind in KINDS.values() if any(key in content for key in kind.marks)]  # more than one is refused later
    kinds = [kind for kind in kinds if kind.keys.issuperset(marks)] or kinds  # `prompts` stands beside the mark of another kind
    if "on" not in content and (units := next(filter(None, (kind.default_on(content) for kind in kinds)), ())):
        content = {**content, "on": list(units)}
    if "repeats" not in content and len(kinds) == 1 and kinds[0].default_repeats != DEFAULT_REPEATS:
        content = {**content, "repeats": kinds[0].default_repeats}
    return content


_LISTS = ("list_type", "tuple_type")
_SHAPES = dict.fromkeys(_LISTS, "must be a list") | dict.fromkeys(
    ("dict_type", "model_type", "model_attributes_type"), "must be a mapping of keys"
)
LONGEST_ADVICE = 80  # characters of a value that is shown as it should be written


def field_error(item: Any, places: Places | None, recipe: dict[str, Any] | None = None) -> FieldError:
    """Convert one of pydantic's errors to the dotted key and a message for the sender.

    Args:
        recipe: the whole recipe as it is written, or None if all of it but the item has been checked already.
    """
    location, owner = _keys_in(item["loc"], ends_with_key=item["type"] == "extra_forbidden")
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known, place = keys_that_fit(owner, location, recipe), place_of(location, owner, recipe)
        message = why_refused(location) or unknown_key(location[-1], known, {str(location[-1]): place})
    elif item["type"] == "missing" and location == ["on"]:
        message = "is missing; it says what a device must be able to do, such as [cpu.onnx]"
    elif item["type"] in _LISTS and isinstance(item["input"], str | int | float):
        message = _as_a_list(location, str(item["input"]))
    elif item["type"] == UNKNOWN_TYPE and isinstance(item["input"], dict) and item["input"].get("type") is not None:
        message = _no_such_type(location[-1], item["input"]["type"])
        location = [*location, "type"]
    elif item["type"] == "too_short" and location[:1] == ["sweep"]:
        message = "has no values, so there would be no job; list the values that jobs take, or leave this path out"
    elif item["type"] in ("too_short", "string_too_short"):
        message = _too_short(item["ctx"]["min_length"], item["input"])
    elif item["type"] == "string_pattern_mismatch" and item["ctx"]["pattern"] in FORMS:
        message = with_value(f"must be {FORMS[item['ctx']['pattern']]}", item["input"])
    elif item["type"] not in ("missing", "value_error", UNKNOWN_TYPE):
        message = with_value(_SHAPES.get(item["type"], message), item["input"])
    return FieldError(path=path_of(location), message=_with_line(message, location, places))


def _as_a_list(location: Sequence[str | int], value: str) -> str:
    """Return how a single value is written as a list. A list with a compute unit that is not known would be refused next."""
    if location == ["on"]:
        try:
            for unit in value.split(","):
                resolve(unit.strip())
        except InvalidInput as error:
            return f"must be a list, such as [cpu.onnx]; {without_logins(error.detail)}"
    return f"must be a list: write [{without_logins(value):.{LONGEST_ADVICE}}]"


def _too_short(least: int, value: Any) -> str:
    if least == 1:
        return "must not be empty"
    return f"needs at least {least} {'characters' if isinstance(value, str) else 'items'}, and has {len(value)}"


def _no_such_type(section_name: str | int, named: Any) -> str:
    if isinstance(named, str) and named in TOOLS:
        tool = TOOLS[named]
        return f"{named} is a tool and no type of client; write `type: {tool.services[0]}_stress` with `driver: {named}` beside it"
    known = list(SERVICES if section_name == "service" else CLIENT_TYPES)
    return f"this version does not know {without_logins(repr(named)):.80}: {nearest(str(named), known)}"


def _keys_in(location: Sequence[str | int], *, ends_with_key: bool) -> tuple[list[str | int], type[BaseModel]]:
    """Return the keys and indices in a location of pydantic, and the model that the last of them belongs to.

    For a value with several allowed types, pydantic adds the name of each type that it tried, such as `str`, or the tag of the section.
    These names are left out. But a user may choose the same name as a key of a mapping by name (`labels: {str: …}`), or write it as an
    unknown key.

    Args:
        ends_with_key: True if the last part is a key in any case.
    """
    here: type[BaseModel] = Recipe
    kept: list[str | int] = []
    chosen_by_user = False
    for number, part in enumerate(location, start=1):
        if chosen_by_user or (ends_with_key and number == len(location)):
            chosen_by_user = False
            kept.append(part)
        elif part in TAGGED:
            here = TAGGED[str(part)]
        elif not _names_a_type(part):
            chosen_by_user = is_by_name(here, str(part))
            here = section(here, str(part)) or here
            kept.append(part)
    return kept, here


def _names_a_type(part: str | int) -> bool:
    return part in ("str", "bool", "float", "ModelEntry", "ExactValues") or str(part).startswith(
        ("constrained-", "tuple[", "literal[", "function-")
    )
