"""Query parameters that no call takes: a misspelt filter would otherwise answer with everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from shared.errors import FieldError, InvalidInput, nearest


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route; asynchronous, as it waits for nothing and a thread would cost more than it does.

    Raises:
        InvalidInput: a query parameter is none of this call's; the nearest known one is named.
    """
    given = list(dict.fromkeys(request.query_params))
    if not given:
        return
    call: Mapping[str, Any] = request.app.openapi()["paths"].get(request.scope["route"].path_format, {}).get(request.method.lower(), {})
    known = [item["name"] for item in call.get("parameters", ()) if item["in"] == "query"]
    fields = [FieldError(f"query.{name}", _refusal(name, known)) for name in given if name not in known]
    if fields:
        raise InvalidInput(f"{fields[0].path}: {fields[0].message}", fields=fields)


def _refusal(name: str, known: list[str]) -> str:
    return f"unknown parameter {name!r:.80}: {nearest(name, known)}" if known else f"unknown parameter {name!r:.80}; this call takes none"
