"""Makes the OpenAPI document: FastAPI's, plus the schemas of bodies that are read raw."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orchestrator.api.bodies import BODIES, SCHEMA_KEY
from orchestrator.api.roles import ADMINS, MAY_CALL, OPEN

_REF = "#/components/schemas/{model}"


def describe(app: FastAPI) -> None:
    """Extend the application's OpenAPI document by its raw bodies, roles and tokens."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
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
        schemas[name] = schema
        references.append({"$ref": _REF.format(model=name)})
    return references[0] if len(references) == 1 else {"anyOf": references}
