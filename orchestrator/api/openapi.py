"""Makes the OpenAPI document: FastAPI's, plus the schemas of bodies that are read raw."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orchestrator.api.bodies import BODIES, SCHEMA_KEY
from orchestrator.api.roles import ADMINS, MAY_CALL, OPEN

_REF = "#/components/schemas/{model}"
# The document takes half a second to make. It depends on the program alone: every application of a process has the same calls.
_making = Lock()
_made: list[dict[str, Any]] = []
# These are bodies that have one of two keys: name of the form -> (the key that it has, the key that it has not). Two schemas say so in a
# way that generators of clients can read. Generators drop a schema that has `oneOf` beside its properties, and every call that takes it.
ALTERNATIVES = {"Recipe": {"Recipe": ("model", "models"), "RecipeOfModels": ("models", "model")}}


def describe(app: FastAPI) -> None:
    """Extend the application's OpenAPI document by its raw bodies, roles and tokens. It is made once, also if several threads ask."""

    def document() -> dict[str, Any]:
        with _making:
            if not _made:
                _made.append(_document(app))
            app.openapi_schema = _made[0]
            return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way FastAPI documents for extending it


def _document(app: FastAPI) -> dict[str, Any]:
    content = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    components = content.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for path, operations in content["paths"].items():
        for method, operation in operations.items():
            call = f"{method.upper()} {path}"
            if path in OPEN:
                operation["security"] = []
            else:
                operation["x-roles"] = sorted(MAY_CALL.get(call, ADMINS))
            for media in operation.get("requestBody", {}).get("content", {}).values():
                if SCHEMA_KEY in media["schema"]:
                    media["schema"] = _schema_of(media["schema"][SCHEMA_KEY], schemas)
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Made by POST /api/tokens; `x-roles` of a call are the roles it takes.",
        }
    }
    content["security"] = [{}, {"token": []}]  # on a loopback address, no token is needed while there is none
    return content


def _schema_of(names: list[str], schemas: dict[str, Any]) -> dict[str, Any]:
    references = []
    for name in names:
        schema = BODIES[name].model_json_schema(ref_template=_REF)
        schemas |= schema.pop("$defs", {})
        forms = {form: _form(schema, *keys) | {"title": form} for form, keys in ALTERNATIVES.get(name, {}).items()} or {name: schema}
        schemas |= forms
        for union in _unions(schema):
            for form in (schemas[reference.rpartition("/")[2]] for reference in union["mapping"].values()):
                form["required"] = sorted({*form["required"], union["propertyName"]})
        references += [{"$ref": _REF.format(model=form)} for form in forms]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _unions(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the discriminators in a schema. The key that chooses a form is required in each form, even if it has a default there."""
    if isinstance(node, dict):
        if "mapping" in node.get("discriminator", {}):
            yield node["discriminator"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _unions(inner)


def _form(schema: dict[str, Any], required: str, absent: str) -> dict[str, Any]:
    """Return a schema in the form that has the key `required`, and in which the key `absent` is null or left out."""
    properties = dict(schema["properties"])
    (present,) = [one for one in properties[required]["anyOf"] if one != {"type": "null"}]
    properties[required] = {key: value for key, value in properties[required].items() if key not in ("anyOf", "default")} | present
    properties[absent] = {"type": "null", "title": properties[absent]["title"], "description": f"not used together with `{required}`"}
    return {**schema, "properties": properties, "required": [*schema.get("required", []), required]}
