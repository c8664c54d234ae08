"""Tests tokens over REST, and how long a cached token stays valid."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import event, text

from orchestrator.api.credentials import FRESH_S, STALE_S
from orchestrator.api.failures import BURST, FORGIVEN_EVERY_S
from orchestrator.operations.context import Context
from orchestrator.operations.tokens import USE_NOTED_EVERY, create_token, revoke_token
from orchestrator.store.schema import migrate
from shared.clock import FakeClock
from shared.tokens import MADE, Role
from tests.integration.api.conftest import serving
from tests.servers import PostgresServer

CONFIGURED = "c0nfigured-token"
Ask = Callable[..., httpx.Response]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def with_token(ctx: Context) -> Context:
    return replace(ctx, settings=ctx.settings.model_copy(update={"token": SecretStr(CONFIGURED)}))


@pytest.fixture
def guarded(ctx: Context) -> Iterator[httpx.Client]:
    """Return a client of a server that has a token in its settings."""
    with serving(with_token(ctx)) as client:
        yield client


@pytest.fixture
def proxied(ctx: Context) -> Iterator[Ask]:
    """Return a function that calls `GET /api/campaigns` with a token from any address, as the server trusts a proxy on this machine."""
    settings = ctx.settings.model_copy(update={"token": SecretStr(CONFIGURED), "trusted_proxies": "127.0.0.1"})
    with serving(replace(ctx, settings=settings)) as client:
        yield lambda address, token: client.get("/api/campaigns", headers={"X-Forwarded-For": address, **bearer(token)})


def make(client: httpx.Client, role: str, token: str | None = None, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/tokens", json={"name": f"a {role}", "role": role, **more}, headers=bearer(token) if token else {})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_token_is_made_listed_looked_at_and_revoked(guarded: httpx.Client, ctx: Context) -> None:
    made = make(guarded, "viewer", CONFIGURED, valid_days=3)
    assert MADE.fullmatch(made["secret"])
    assert (made["name"], made["role"], made["revoked_at"], made["last_used_at"]) == ("a viewer", "viewer", None, None)
    assert made["created_at"].startswith("2026-03-01T12:00")
    assert made["expires_at"].startswith("2026-03-04T12:00")
    secret = made.pop("secret")
    assert guarded.get("/api/campaigns", headers=bearer(secret)).status_code == 200
    guarded.headers.update(bearer(CONFIGURED))
    listed = guarded.get("/api/tokens").json()
    assert listed == {"count": 1, "tokens": [made | {"last_used_at": made["created_at"]}], "next_cursor": None}
    path = f"/api/tokens/{made['token_id']}"
    assert guarded.get(path).json() == listed["tokens"][0]
    revoked = guarded.delete(path).json()
    assert revoked["revoked_at"] == made["created_at"]
    assert guarded.delete(path).json() == revoked  # a second call changes nothing
    assert guarded.get("/api/tokens").json()["count"] == 0
    assert guarded.get("/api/tokens?revoked=true").json()["tokens"] == [revoked]
    assert guarded.get("/api/campaigns", headers=bearer(secret)).status_code == 401


def test_the_secret_is_nowhere_in_the_database(guarded: httpx.Client, ctx: Context) -> None:
    secret = make(guarded, "worker", CONFIGURED)["secret"]
    with ctx.store.read() as session:
        (row,) = session.execute(text("SELECT * FROM tokens"))
    assert not any(secret in str(value) or secret.removeprefix("fleetmark_") in str(value) for value in row)


def test_tokens_come_in_pages(guarded: httpx.Client, ctx: Context) -> None:
    guarded.headers.update(bearer(CONFIGURED))
    ids = {make(guarded, "worker")["token_id"] for _ in range(5)}
    seen, cursor = [], None
    while True:
        page = guarded.get("/api/tokens", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [token["token_id"] for token in page["tokens"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert (seen, set(seen)) == (sorted(ids, reverse=True), ids)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "x", "role": "root"}, "role"),
        ({"name": "", "role": "viewer"}, "name"),
        ({"name": "  ", "role": "viewer"}, "name"),
        ({"name": "evil\n\x1b[31m", "role": "viewer"}, "name"),
        ({"role": "viewer"}, "name"),
        ({"name": "x", "role": "viewer", "valid_days": 0}, "valid_days"),
        ({"name": "x", "role": "viewer", "secret": "mine"}, "secret"),
    ],
)
def test_an_invalid_token_request_is_refused_with_its_field(guarded: httpx.Client, body: dict[str, Any], path: str) -> None:
    answer = guarded.post("/api/tokens", json=body, headers=bearer(CONFIGURED))
    assert (answer.status_code, [field["path"] for field in answer.json()["fields"]]) == (422, [path])


def test_the_description_says_which_names_are_taken(guarded: httpx.Client) -> None:
    described = guarded.get("/openapi.json").json()["components"]["schemas"]["NewToken"]["properties"]["name"]["pattern"]
    for name, taken in (("lab pi", True), (" x", True), ("  ", False), ("\u2028x", False), ("x\ny", False)):
        assert bool(re.search(described, name)) == taken
        answer = guarded.post("/api/tokens", json={"name": name, "role": "viewer"}, headers=bearer(CONFIGURED))
        assert answer.status_code == (201 if taken else 422)


def test_what_does_not_exist_is_404(guarded: httpx.Client) -> None:
    for token_id in ("token-" + "0" * 18, "nonsense"):
        for method in ("GET", "DELETE"):
            answer = guarded.request(method, f"/api/tokens/{token_id}", headers=bearer(CONFIGURED))
            assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")


def test_the_first_token_closes_the_door_and_is_an_administrators(api: httpx.Client) -> None:
    assert api.get("/api/tokens/current").json() == {"role": "admin", "name": "", "token_id": None, "expires_at": None}
    locked_out = api.post("/api/tokens", json={"name": "x", "role": "viewer"})
    assert (locked_out.status_code, "administrator" in locked_out.json()["detail"]) == (409, True)
    first = make(api, "admin")
    assert api.get("/api/campaigns").status_code == 401
    assert api.get("/api/health").status_code == 200
    viewer = make(api, "viewer", first["secret"])
    current = api.get("/api/tokens/current", headers=bearer(viewer["secret"])).json()
    assert current == {"role": "viewer", "name": "a viewer", "token_id": viewer["token_id"], "expires_at": None}
    unmeant = api.post("/api/reset", headers=bearer(first["secret"]))
    assert (unmeant.status_code, '{"confirm": true}' in unmeant.json()["detail"]) == (400, True)
    assert api.post("/api/reset", json={"confirm": True}, headers=bearer(first["secret"])).status_code == 200
    assert api.get("/api/campaigns", headers=bearer(viewer["secret"])).status_code == 200  # a reset does not delete tokens


def test_a_token_of_another_process_counts_and_ceases_within_seconds(api: httpx.Client, ctx: Context, clock: FakeClock) -> None:
    assert api.get("/api/campaigns").status_code == 200
    token, secret = create_token(ctx, "made elsewhere", Role.ADMIN)
    clock.advance(FRESH_S)
    assert api.get("/api/campaigns").status_code == 401
    assert api.get("/api/campaigns", headers=bearer(secret)).status_code == 200
    revoke_token(ctx, token.id)
    clock.advance(FRESH_S)
    assert api.get("/api/campaigns").status_code == 200  # that was the last token, and this call comes from a loopback address
    create_token(ctx, "another", Role.ADMIN)
    clock.advance(FRESH_S)
    assert api.get("/api/campaigns", headers=bearer(secret)).status_code == 401


def test_a_token_ends_when_it_expires_and_the_door_stays_closed(api: httpx.Client, clock: FakeClock) -> None:
    secret = make(api, "admin", valid_days=1)["secret"]
    clock.advance(timedelta(days=1).total_seconds() - 1)
    assert api.get("/api/campaigns", headers=bearer(secret)).status_code == 200
    clock.advance(1)
    assert api.get("/api/campaigns", headers=bearer(secret)).status_code == 401
    assert api.get("/api/campaigns").status_code == 401


def test_a_server_that_is_not_on_the_loopback_is_closed_without_any_token(ctx: Context) -> None:
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"host": "0.0.0.0"}))) as client:
        assert client.get("/api/campaigns").status_code == 401
        assert client.get("/api/health").status_code == 200


def test_a_known_token_costs_no_query(api: httpx.Client, ctx: Context, clock: FakeClock) -> None:
    secret = make(api, "admin")["secret"]
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        if "tokens" in arguments[2]:
            statements.append(arguments[2])

    event.listen(ctx.store.engine, "before_cursor_execute", note)

    def call(times: int) -> int:
        statements.clear()
        for _ in range(times):
            assert api.get("/api/campaigns", headers=bearer(secret)).status_code == 200
        return len(statements)

    call(1)
    assert call(10) == 0
    clock.advance(FRESH_S)
    assert call(10) == 2  # the two queries ask whether a token is needed and whether this one is right
    event.remove(ctx.store.engine, "before_cursor_execute", note)


def test_the_last_use_is_noted_to_the_hour(guarded: httpx.Client, clock: FakeClock) -> None:
    made = make(guarded, "viewer", CONFIGURED)

    def last_used() -> str:
        assert guarded.get("/api/campaigns", headers=bearer(made["secret"])).status_code == 200
        return str(guarded.get(f"/api/tokens/{made['token_id']}", headers=bearer(CONFIGURED)).json()["last_used_at"])

    first = last_used()
    clock.advance(FRESH_S)
    assert last_used() == first
    clock.advance(USE_NOTED_EVERY.total_seconds())
    assert last_used() > first


def wrong_tokens() -> Iterator[str]:
    return (f"wrong-{number}" for number in itertools.count())


def test_wrong_tokens_are_counted_by_address_and_then_not_looked_at(proxied: Ask, ctx: Context, clock: FakeClock) -> None:
    wrong = wrong_tokens()
    assert [proxied("192.0.2.1", next(wrong)).status_code for _ in range(BURST + 1)] == [401] * BURST + [429]
    # this token is right but was never used from there, so it is refused too: a guesser must not learn that it is right
    refused = proxied("192.0.2.1", CONFIGURED)
    assert (refused.status_code, refused.json()["error"]) == (429, "TooManyFailures")
    assert refused.headers["Retry-After"] == str(int(FORGIVEN_EVERY_S))
    assert proxied("192.0.2.2", CONFIGURED).status_code == 200
    clock.advance(FORGIVEN_EVERY_S)
    assert proxied("192.0.2.1", CONFIGURED).status_code == 200
    assert proxied("192.0.2.1", next(wrong)).status_code == 401
    assert proxied("192.0.2.1", next(wrong)).status_code == 429


def test_a_neighbour_s_failures_lock_out_nobody_who_was_at_work(proxied: Ask, ctx: Context, clock: FakeClock) -> None:
    """A whole laboratory may share one address."""
    worker = create_token(ctx, "at work", Role.VIEWER)[1]
    assert proxied("192.0.2.1", worker).status_code == 200
    wrong = wrong_tokens()
    for _ in range(20):
        while proxied("192.0.2.1", next(wrong)).status_code == 401:
            pass
        assert proxied("192.0.2.1", worker).status_code == 200
        clock.advance(FRESH_S)


def test_calls_without_a_token_guess_nothing_and_are_not_counted(guarded: httpx.Client) -> None:
    assert {guarded.get("/api/campaigns").status_code for _ in range(2 * BURST)} == {401}
    assert guarded.get("/api/campaigns", headers=bearer(CONFIGURED)).status_code == 200


def test_an_address_that_nobody_vouches_for_is_not_believed(guarded: httpx.Client) -> None:
    """Without FLEETMARK_TRUSTED_PROXIES, no header can change the address under which a caller is counted."""
    answers = [guarded.get("/api/campaigns", headers={"X-Forwarded-For": f"192.0.2.{n}", **bearer("wrong")}) for n in range(BURST + 1)]
    assert [answer.status_code for answer in answers] == [401] * BURST + [429]


def test_while_the_database_is_away_what_was_right_stays_right_for_minutes(
    own_postgres: PostgresServer, ctx_of: Callable[[str], Context], clock: FakeClock
) -> None:
    ctx = ctx_of(own_postgres.create_database("tokens"))
    migrate(ctx.store)
    with serving(ctx) as client:
        secret = make(client, "admin")["secret"]
        unused = make(client, "worker", secret)["secret"]
        assert client.get("/api/workers", headers=bearer(secret)).status_code == 200
        own_postgres.stop()
        for _ in range(2):
            clock.advance(FRESH_S)
            assert client.get("/api/workers", headers=bearer(secret)).status_code == 200  # workers are stored in Redis
        assert client.get("/api/workers").status_code == 401
        unknown = client.get("/api/workers", headers=bearer(unused))
        assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "5")
        clock.advance(STALE_S)
        assert client.get("/api/workers", headers=bearer(secret)).status_code == 503
        own_postgres.start()
        assert client.get("/api/workers", headers=bearer(secret)).status_code == 200


def test_a_server_that_never_saw_its_database_lets_nobody_in(own_postgres: PostgresServer, ctx_of: Callable[[str], Context]) -> None:
    url = own_postgres.create_database("tokens")
    own_postgres.stop()
    ctx = ctx_of(url)
    with serving(ctx) as client:
        assert client.get("/api/workers").status_code == 503
        assert client.get("/api/health").json()["status"] == "degraded"
        own_postgres.start()
        migrate(ctx.store)
        assert client.get("/api/workers").status_code == 200
