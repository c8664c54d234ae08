"""Refuses unknown query parameters, those that are given twice, and values that no database can look for.

Otherwise a misspelt filter would be ignored, and the answer would list everything; and of two values for one parameter, only the last would
count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from shared.errors import FieldError, InvalidInput, nearest
from shared.storable import NUL


async def refuse_unknown(request: Request) -> None:
    """Refuse unknown query parameters, several values for a parameter that takes one, and a NUL in a value. Every route depends on this.

    It is asynchronous, because a thread for each call would cost more than the work itself. It asks the route for its parameters and not
    the OpenAPI document, because the document takes half a second to make.

    Raises:
        InvalidInput: the call has no such query parameter, and the message names the nearest known one. Or the parameter takes one value.
            Or a value holds a NUL, which PostgreSQL has in no text.
    """
    items = request.query_params.multi_items()
    given = Counter(name for name, _ in items)
    if not given:
        return
    takes_several = parameters(request.scope["route"])
    known = list(takes_several)
    fields = [FieldError(f"query.{name}", _refusal(name, known)) for name in given if name not in known]
    fields += [
        FieldError(f"query.{name}", f"is given {count} times, and this call takes one value for it")
        for name, count in given.items()
        if count > 1 and not takes_several.get(name, True)
    ]
    fields += [FieldError(f"query.{name}", f"{value!r:.80} holds a NUL, and no text here has one") for name, value in items if NUL in value]
    if fields:
        raise InvalidInput(f"{fields[0].path}: {fields[0].message}", fields=fields)


def parameters(route: APIRoute) -> dict[str, bool]:
    """Return the names of a route's query parameters, and whether each takes several values."""
    return dict(_parameters(route.dependant))


def _parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    for one in dependant.query_params:
        yield one.alias, _is_list(one.field_info.annotation)
    for inner in dependant.dependencies:
        yield from _parameters(inner)


def _is_list(annotation: Any) -> bool:
    """Return whether a type is a list, or has one as an alternative (`list[str] | None`)."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated):
        return any(_is_list(one) for one in get_args(annotation))
    return origin is list or annotation is list


def _refusal(name: str, known: list[str]) -> str:
    return f"unknown parameter {name!r:.80}: {nearest(name, known)}" if known else f"unknown parameter {name!r:.80}; this call takes none"
