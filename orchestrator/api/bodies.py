"""Reads and validates bodies. They are read raw, so that the Content-Type of `curl -d` does not matter. Every mistake is named at once."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, TypeVar, get_args

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from shared.errors import BadRequest, FieldError, InvalidInput
from shared.json_text import RepeatedKey, read_json_text, refuse_repeated_keys
from shared.mistakes import not_valid, path_of, unknown_key, with_value
from shared.storable import unstorable_at

M = TypeVar("M", bound=BaseModel)

SCHEMA_KEY = "x-fleetmark-body"  # marks where the OpenAPI document puts the schema
BODIES: dict[str, type[BaseModel]] = {}  # every model of a raw body, by its name
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LIKE_YAML = re.compile(rb"\s*(?:#|---|%YAML|[A-Za-z_]+:\s)")
_PERHAPS_TOO_LARGE = re.compile(rb"(?<!\d)\d{300}|[eE]\+?\d{3}|NaN|Infinity")  # a quick check; it also matches harmless texts


async def _raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]


def described(*models: type[BaseModel], example: Any, required: bool = True, yaml: Any = None) -> dict[str, Any]:
    """Return the OpenAPI description of a raw body.

    Args:
        models: the models that the body may have.
        yaml: an example in YAML, if the last model may also be sent as YAML.
    """
    BODIES.update({model.__name__: model for model in models})
    schema = {SCHEMA_KEY: [model.__name__ for model in models]}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
    if yaml is not None:
        content["application/yaml"] = {"schema": {SCHEMA_KEY: [models[-1].__name__]}, "example": yaml}
    return {"requestBody": {"required": required, "content": content}}


def parse(model: type[M], raw: bytes) -> M:
    """Validate a JSON body.

    Raises:
        BadRequest: the body is not JSON.
        InvalidInput: the content is not valid. `fields` names every mistake. Or an object has the same key twice.
    """
    raw = _utf_8(raw)
    refuse_unstorable(raw)
    try:
        valid = model.model_validate_json(raw)
        refuse_repeated_keys(raw)
        return valid
    except RepeatedKey as error:
        raise InvalidInput(f"the body is not valid: {error}") from error
    except ValidationError as error:
        items = error.errors(include_url=False)
        if items[0]["type"] == "json_invalid":
            raise BadRequest(_not_json(raw, items[0]["msg"])) from error
        raise not_valid("the body", items, lambda item: _field_error(model, item)) from error


def parse_optional(model: type[M], raw: bytes) -> M:
    """Validate a JSON body like `parse`. An empty body gives the defaults."""
    return parse(model, raw) if raw.strip() else model()


def read_json(raw: bytes) -> Any:
    """Return the content of a JSON body without validating its shape.

    Raises:
        BadRequest: it is not JSON.
        InvalidInput: an object has the same key twice, or a value cannot be stored.
    """
    raw = _utf_8(raw)
    refuse_unstorable(raw)
    try:
        return read_json_text(raw)
    except RepeatedKey as error:
        raise InvalidInput(f"the body is not valid: {error}") from error
    except ValueError as error:
        raise BadRequest(_not_json(raw, str(error))) from error


def refuse_unstorable(raw: bytes) -> None:
    """Refuse a JSON body with values that cannot be stored.

    Raises:
        InvalidInput: a text holds the character NUL, which PostgreSQL cannot store. Or there is NaN, an infinity (also 1e999), or an
            integer with more than 308 digits, which could not be returned as JSON.
    """
    if b"\0" in raw or _NUL.search(raw):
        raise InvalidInput("a text in the body holds the character NUL (\\u0000), which cannot be stored; leave it out")
    if _PERHAPS_TOO_LARGE.search(raw) is None:
        return
    try:
        content = from_json(raw)
    except ValueError:
        return  # not JSON; the caller parses it and gives a better message
    place = unstorable_at(content)
    if place is not None:
        path = ".".join(place)
        message = "no number that can be kept: NaN, an infinity (1e999 is one) or an integer of more than 308 digits; leave it out"
        raise InvalidInput(f"the body is not valid: {path}: {message}", fields=[FieldError(path, message)])


def _utf_8(raw: bytes) -> bytes:
    """Return a body without the byte order mark that some editors and shells write in front of a UTF-8 text.

    Raises:
        BadRequest: the body begins with the byte order mark of UTF-16.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadRequest("the body is text in UTF-16; send it in UTF-8")
    return raw.removeprefix(codecs.BOM_UTF8)


def _not_json(raw: bytes, why: str) -> str:
    if not raw.strip():
        return "the body is empty; this call takes JSON (curl -d '{…}')"
    yaml = (
        "; a recipe in YAML needs the header `Content-Type: application/yaml`, and --data-binary in place of -d, which joins its lines"
        if _LIKE_YAML.match(raw)
        else ""
    )
    return f"the body is not JSON: {why.removeprefix('Invalid JSON: ')}{yaml}"


def _field_error(model: type[BaseModel], item: ErrorDetails) -> FieldError:
    location, kind = item["loc"], item["type"]
    message = item["msg"].removeprefix("Value error, ")
    context = item.get("ctx", {})
    if kind == "missing":
        message = "is required"
    elif kind == "extra_forbidden":
        message = unknown_key(location[-1], _known_keys(model, location[:-1]))
    elif kind == "too_short":
        message = f"needs at least {context.get('min_length')}, has {context.get('actual_length')}"
    elif kind != "value_error":
        message = with_value(message, item["input"])
    return FieldError(path_of(location), message)


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed at a place in a body."""
    here = model
    for part in location:
        field = here.model_fields.get(str(part))
        if field is not None:
            inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type) and issubclass(one, BaseModel)]
            here = inner[0] if inner else here
    return list(here.model_fields)
