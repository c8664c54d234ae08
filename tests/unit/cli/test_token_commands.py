"""Tests `fleetmark token`: only the secret goes to standard output, so that scripts can read it."""

from __future__ import annotations

import json

from tests.command_line import fleetmark
from tests.unit.cli.scripted_server import ScriptedServer

SECRET = "fleetmark_" + "s" * 43
TOKEN = {
    "token_id": "token-0123456789abcdefgh",
    "name": "lab-pi",
    "role": "worker",
    "created_at": "2026-03-01T12:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}


def test_the_secret_alone_is_on_standard_output(server: ScriptedServer) -> None:
    server.on("GET /api/tokens/current", {"role": "admin", "name": "me", "token_id": "x", "expires_at": None})
    server.on("POST /api/tokens", TOKEN | {"secret": SECRET}, status=201)
    ended = fleetmark("token", "create", "lab-pi", "--role", "worker", "--days", "90", host=server.url, FLEETMARK_TOKEN="admins")
    assert (ended.returncode, ended.stdout) == (0, SECRET + "\n")
    assert "not shown again" in ended.stderr
    assert "every call needs a token" not in ended.stderr
    assert json.loads(server.requests[-1].body) == {"name": "lab-pi", "role": "worker", "valid_days": 90}
    assert server.requests[-1].headers["Authorization"] == "Bearer admins"


def test_whoever_makes_the_first_token_hears_what_that_means(server: ScriptedServer) -> None:
    server.on("GET /api/tokens/current", {"role": "admin", "name": "", "token_id": None, "expires_at": None})
    server.on("POST /api/tokens", TOKEN | {"secret": SECRET}, status=201)
    ended = fleetmark("token", "create", "me", "--role", "admin", "--json", host=server.url)
    assert json.loads(ended.stdout)["secret"] == SECRET
    assert "every call needs a token" in ended.stderr


def test_tokens_are_listed_and_revoked(server: ScriptedServer) -> None:
    server.on("GET /api/tokens", {"count": 1, "tokens": [TOKEN], "next_cursor": None})
    server.on(f"DELETE /api/tokens/{TOKEN['token_id']}", TOKEN | {"revoked_at": "2026-03-02T12:00:00Z"})
    assert "lab-pi" in fleetmark("token", "list", host=server.url).stdout
    assert json.loads(fleetmark("token", "list", "--revoked", "--json", host=server.url).stdout) == [TOKEN]
    assert server.requests[-1].query["revoked"] == "true"
    assert "is revoked" in fleetmark("token", "revoke", str(TOKEN["token_id"]), host=server.url).stdout


def test_an_unknown_role_is_wrong_usage(server: ScriptedServer) -> None:
    ended = fleetmark("token", "create", "x", "--role", "root", host=server.url)
    assert (ended.returncode, server.requests) == (2, [])
    assert "viewer" in ended.stderr
