"""Refuses unknown query parameters, those that are given twice, and values that no database can look for.

Otherwise a misspelt filter would be ignored, and the answer would list everything; and of two values for one parameter, only the last would
count.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastapi import Request

from shared.errors import FieldError, InvalidInput, nearest
from shared.storable import NUL


async def refuse_unknown(request: Request) -> None:
    """Refuse unknown query parameters, several values for a parameter that takes one, and a NUL in a value. Every route depends on this.

    It is asynchronous, because a thread for each call would cost more than the work itself. Only a call that comes before the OpenAPI
    document is made waits for it.

    Raises:
        InvalidInput: the call has no such query parameter, and the message names the nearest known one. Or the parameter takes one value.
            Or a value holds a NUL, which PostgreSQL has in no text.
    """
    items = request.query_params.multi_items()
    given = Counter(name for name, _ in items)
    if not given:
        return
    app = request.app
    document = app.openapi_schema or await asyncio.to_thread(app.openapi)
    call: Mapping[str, Any] = document["paths"].get(request.scope["route"].path_format, {}).get(request.method.lower(), {})
    schemas = {item["name"]: item["schema"] for item in call.get("parameters", ()) if item["in"] == "query"}
    known = list(schemas)
    fields = [FieldError(f"query.{name}", _refusal(name, known)) for name in given if name not in known]
    fields += [
        FieldError(f"query.{name}", f"is given {count} times, and this call takes one value for it")
        for name, count in given.items()
        if count > 1 and name in schemas and not _takes_several(schemas[name])
    ]
    fields += [FieldError(f"query.{name}", f"{value!r:.80} holds a NUL, and no text here has one") for name, value in items if NUL in value]
    if fields:
        raise InvalidInput(f"{fields[0].path}: {fields[0].message}", fields=fields)


def _takes_several(schema: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in (schema, *schema.get("anyOf", ())))


def _refusal(name: str, known: list[str]) -> str:
    return f"unknown parameter {name!r:.80}: {nearest(name, known)}" if known else f"unknown parameter {name!r:.80}; this call takes none"
