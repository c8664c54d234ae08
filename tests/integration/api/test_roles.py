"""Compares every route of the application with the table of roles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr
from starlette.routing import BaseRoute, Mount, Route

from orchestrator.api import make_api
from orchestrator.api.roles import ALL, ASSETS, MAY_CALL, OPEN
from orchestrator.operations.context import Context
from orchestrator.operations.tokens import create_token
from shared.tokens import Role
from tests.integration.api.conftest import serving

CONFIGURED = "c0nfigured-token"


@pytest.fixture
def guarded(ctx: Context) -> Iterator[httpx.Client]:
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"token": SecretStr(CONFIGURED)}))) as client:
        yield client


@pytest.fixture
def secrets(ctx: Context) -> dict[Role, str]:
    """Return a token of each role."""
    return {role: create_token(ctx, f"a {role}", role)[1] for role in Role}


def routes_of(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        included = getattr(route, "original_router", None)  # FastAPI keeps an included router in this attribute
        if included is not None:
            yield from routes_of(included.routes)
        else:
            yield route


def calls_of(ctx: Context) -> set[str]:
    """Return `METHOD path` of every route, whether or not the API's description shows it."""
    found = set()
    for route in routes_of(make_api(ctx).routes):
        if isinstance(route, Mount):
            assert route.path == ASSETS, f"{route.path}: a mount has no role"
            continue
        assert isinstance(route, Route), route
        found |= {f"{method} {route.path_format}" for method in route.methods or ()}
    return found


def as_sent(call: str) -> tuple[str, str]:
    method, path = call.split()
    return method, re.sub(r"\{[a-z_0-9]+\}", "none", path)


def test_every_route_has_a_role_and_every_role_a_route(ctx: Context) -> None:
    needing = {call for call in calls_of(ctx) if call.split()[1] not in OPEN or call.startswith("GET /api/health")}
    assert needing | {"HEAD /api/health"} == set(MAY_CALL), "orchestrator/api/roles.py has the one table; enter what is missing there"


def test_what_is_open_says_nothing_of_this_system(guarded: httpx.Client, ctx: Context) -> None:
    """The open calls are the health and the description of the API. Any other orchestrator of this version answers the same."""
    assert guarded.get("/openapi.json").json() == make_api(ctx).openapi()
    assert guarded.get("/docs").status_code == 200
    assert guarded.get("/api/health").json().keys() == {"status", "timestamp", "redis", "database", "version"}


def test_without_a_token_every_other_route_is_401(guarded: httpx.Client, ctx: Context) -> None:
    for call in sorted(calls_of(ctx)):
        method, path = as_sent(call)
        answer = guarded.request(method, path)
        if path in OPEN:
            assert answer.status_code in (200, 307), call
        else:
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), call
    for path in OPEN:
        assert guarded.post(path).status_code == 401, path  # a GET of this path needs no token, but a POST does


def test_with_too_low_a_role_every_route_is_403(guarded: httpx.Client, secrets: dict[Role, str]) -> None:
    for call, allowed in MAY_CALL.items():
        method, path = as_sent(call)
        for role in set(Role) - allowed:
            answer = guarded.request(method, path, headers={"Authorization": f"Bearer {secrets[role]}"})
            assert answer.status_code == 403, (call, role)
            if method != "HEAD":
                assert answer.json()["error"] == "Forbidden"
                assert all(name in answer.json()["detail"] for name in (call, role, *allowed))


def test_with_a_role_that_is_named_no_route_refuses(guarded: httpx.Client, secrets: dict[Role, str]) -> None:
    """Only access is tested here. The requests have no body and name things that do not exist, so the answers may be other errors."""
    for call, allowed in MAY_CALL.items():
        method, path = as_sent(call)
        for token in (*(secrets[role] for role in allowed), *([CONFIGURED] if allowed != ALL else [])):
            answer = guarded.request(method, path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code not in (401, 403, 429), (call, token)
            assert answer.status_code < 500, (call, answer.text)


def test_an_administrator_may_make_every_call() -> None:
    assert all(Role.ADMIN in allowed for allowed in MAY_CALL.values())


def test_the_description_names_the_roles_of_each_call(guarded: httpx.Client) -> None:
    content = guarded.get("/openapi.json").json()
    described = {
        f"{method.upper()} {path}": operation.get("x-roles")
        for path, methods in content["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {call: None if call.split()[1] in OPEN else sorted(allowed) for call, allowed in MAY_CALL.items()}
    assert content["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
