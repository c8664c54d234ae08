"""Serves the calls about bearer tokens: make one (its secret is shown once), list, show and revoke. They need the role `admin`."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from orchestrator.api.bodies import RawBody, described, parse
from orchestrator.api.context import Ctx
from orchestrator.api.credentials import Credentials
from orchestrator.api.errors import documented
from orchestrator.api.ids import TokenId
from orchestrator.api.pages import Limit, TokenCursor, token_of
from orchestrator.api.roles import caller_of
from orchestrator.api.times import text
from orchestrator.operations.tokens import create_token, require_an_administrator, revoke_token
from orchestrator.store import tokens
from orchestrator.store.tables import Token
from shared.names import PATTERN, OneLine
from shared.strict import Strict
from shared.tokens import Role

router = APIRouter(prefix="/api", tags=["tokens"])


NAMED = PATTERN.replace("]*$", r"]*[^\s\x00-\x1f\x7f-\x9f]" + PATTERN.removeprefix("^"))  # one line with at least one visible character


class NewToken(Strict):
    name: OneLine = Field(
        min_length=1,
        max_length=200,
        pattern=r"\S",
        json_schema_extra={"pattern": NAMED},
        description="whose token it is, or what it is for",
    )
    role: Role
    valid_days: int | None = Field(
        default=None, ge=1, le=3650, description="for how many days it can be used; if this is left out, until it is revoked"
    )


class TokenBody(BaseModel):
    token_id: str
    name: str
    role: Role
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = Field(description="when it was last used, to the hour")


class CreatedToken(TokenBody):
    secret: str = Field(description="the token itself; it is not stored, so it cannot be shown again")


class Tokens(BaseModel):
    count: int
    tokens: list[TokenBody]
    next_cursor: str | None


class CurrentToken(BaseModel):
    role: Role
    name: str = Field(description="the name of the token; empty if no token is needed")
    token_id: str | None
    expires_at: str | None


@router.post(
    "/tokens",
    name="create_token",
    status_code=201,
    response_model=CreatedToken,
    responses=documented(400, 409, 413, 422),
    openapi_extra=described(NewToken, example={"name": "lab-pi", "role": "worker", "valid_days": 90}),
)
def post_token(ctx: Ctx, body: RawBody, request: Request) -> JSONResponse:
    """Make a token. Once there is a token, every call needs one, so the first one must have the role `admin`."""
    wanted = parse(NewToken, body)
    if wanted.role is not Role.ADMIN:
        require_an_administrator(ctx)
    token, secret = create_token(ctx, wanted.name, wanted.role, wanted.valid_days)
    from_thread.run_sync(_credentials(request).made)
    return JSONResponse(_body(token) | {"secret": secret}, status_code=201, headers={"Location": f"/api/tokens/{token.id}"})


@router.get("/tokens", response_model=Tokens, responses=documented(422))
def list_tokens(
    ctx: Ctx,
    revoked: Annotated[bool, Query(description="whether revoked tokens are listed too")] = False,
    limit: Limit = 100,
    cursor: TokenCursor = None,
) -> JSONResponse:
    """List tokens, newest first, without their secrets. The token in FLEETMARK_TOKEN is not listed."""
    before = token_of(cursor)
    with ctx.store.read() as session:
        found = tokens.page(session, revoked=revoked, before=before, limit=limit + 1)
    more = found[limit - 1].id if len(found) > limit else None
    return JSONResponse({"count": len(found[:limit]), "tokens": [_body(one) for one in found[:limit]], "next_cursor": more})


@router.get("/tokens/current", name="get_current_token", response_model=CurrentToken)
def get_current(request: Request) -> JSONResponse:
    """Describe the token of this call. A device uses this to check that its token is valid."""
    caller = caller_of(request.scope)
    assert caller is not None  # this call is not open, so the guard has set the caller
    content = {"role": caller.role, "name": caller.name, "token_id": caller.token_id, "expires_at": text(caller.expires_at)}
    return JSONResponse(content)


@router.get("/tokens/{token_id}", response_model=TokenBody, responses=documented(404))
def get_token(ctx: Ctx, token_id: TokenId) -> JSONResponse:
    """Show one token, without its secret."""
    with ctx.store.read() as session:
        return JSONResponse(_body(tokens.get(session, token_id)))


@router.delete("/tokens/{token_id}", name="revoke_token", response_model=TokenBody, responses=documented(404))
def delete_token(ctx: Ctx, token_id: TokenId, request: Request) -> JSONResponse:
    """Revoke a token. This takes effect at once in this process and within seconds in others. The token stays listed as revoked."""
    revoked = revoke_token(ctx, token_id)
    from_thread.run_sync(_credentials(request).revoked, token_id)
    return JSONResponse(_body(revoked))


def _credentials(request: Request) -> Credentials:
    credentials: Credentials = request.app.state.credentials
    return credentials


def _body(token: Token) -> dict[str, Any]:
    return {
        "token_id": token.id,
        "name": token.name,
        "role": token.role,
        "created_at": text(token.created_at),
        "expires_at": text(token.expires_at),
        "revoked_at": text(token.revoked_at),
        "last_used_at": text(token.last_used_at),
    }
