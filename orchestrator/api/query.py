"""Refuses unknown query parameters. Otherwise a misspelt filter would be ignored, and the answer would list everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from shared.errors import FieldError, InvalidInput, nearest


async def refuse_unknown(request: Request) -> None:
    """Refuse unknown query parameters. Every route depends on this.

    It is asynchronous because it never waits, and a thread would cost more than the work itself.

    Raises:
        InvalidInput: the call has no such query parameter. The message names the nearest known one.
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
