"""Tests that a web page in a browser cannot use an orchestrator on the same machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr

from orchestrator.api import make_api
from orchestrator.api.headers import SAFE
from orchestrator.operations.context import Context
from tests.integration.api.conftest import serving

CAMPAIGN = '{"model_url": "https://models.example/m.onnx", "jobs": [{"compute_unit": "cpu.onnx"}]}'


def port_of(api: httpx.Client) -> int:
    port = api.base_url.port
    assert port is not None
    return port


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost:3000", "http://127.0.0.1:1", "null", "file://", "http://127.0.0.1.evil.example"]
)
def test_a_page_of_elsewhere_cannot_submit(api: httpx.Client, origin: str) -> None:
    """A browser may send a body of text/plain to another site without asking that site first."""
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    refused = api.post("/api/campaigns", content=CAMPAIGN, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (403, "Forbidden")
    assert api.get("/api/workers", headers={"Origin": origin}).status_code == 403
    assert api.get("/api/campaigns").json()["count"] == 0


@pytest.mark.parametrize("name", ["evil.example", "rebound.evil.example", "127.0.0.1.evil.example", "10.1.2.3"])
def test_a_page_whose_name_resolves_to_us_cannot_either(api: httpx.Client, name: str) -> None:
    """This is DNS rebinding: the browser then believes that we are the page's own origin."""
    host = f"{name}:{port_of(api)}"
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        read = api.get("/api/campaigns", headers=headers)
        assert (read.status_code, read.json()["error"]) == (403, "Forbidden")
        assert "127.0.0.1" in read.json()["detail"]
        assert api.post("/api/campaigns", content=CAMPAIGN, headers=headers).status_code == 403
    assert api.get("/api/campaigns").json()["count"] == 0


def test_our_own_pages_and_every_program_on_this_machine_can(api: httpx.Client) -> None:
    port = port_of(api)
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
            assert api.get("/api/campaigns", headers=headers).status_code == 200
    assert api.post("/api/campaigns", content=CAMPAIGN).status_code == 201


def test_with_a_token_the_name_does_not_matter(ctx: Context) -> None:
    """A page that uses such a name has no token. A reverse proxy may have any name."""
    with serving(replace(ctx, settings=ctx.settings.model_copy(update={"token": SecretStr("c0nfigured")}))) as client:
        headers = {"Host": "lab.example", "Authorization": "Bearer c0nfigured"}
        assert client.get("/api/campaigns", headers=headers).status_code == 200
        assert client.get("/api/campaigns", headers=headers | {"Origin": "https://lab.example"}).status_code == 200
        assert client.get("/api/campaigns", headers=headers | {"Origin": "https://evil.example"}).status_code == 403


def test_cors_is_closed(api: httpx.Client) -> None:
    preflight = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    own = {"Origin": str(api.base_url).rstrip("/")}
    for answer in (
        api.options("/api/campaigns", headers=preflight),
        api.options("/api/campaigns", headers=preflight | own),
        api.get("/api/health", headers=own),
        api.get("/api/campaigns", headers=own),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "path", ["/api/health", "/api/campaigns", "/api/nowhere", "/metrics", "/openapi.json", "/docs", "/docs-assets/swagger-ui.css", "/"]
)
def test_every_answer_says_what_a_browser_must_not_do_with_it(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    for name, value in SAFE.items():
        if not (path == "/docs" and name == "Content-Security-Policy"):
            assert answer.headers[name] == value, name
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert "server" not in answer.headers  # the answer shows neither the server's name nor its version


def test_a_refusal_says_so_too(ctx: Context) -> None:
    with serving(ctx) as client:
        refused = client.get("/api/campaigns", headers={"Origin": "https://evil.example"})
        for answer in (refused, client.post("/api/campaigns", content=b"{")):
            assert {name: answer.headers.get(name) for name in SAFE} == SAFE


def test_a_mistake_of_ours_says_so_too(ctx: Context) -> None:
    app = make_api(ctx)

    @app.get("/api/broken")
    def broken() -> None:
        raise ZeroDivisionError

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/api/broken")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["error"]) == (500, "ServerError")
    assert {name: answer.headers.get(name) for name in SAFE} == SAFE


def test_the_documentation_s_policy_admits_its_own_script_and_no_other(api: httpx.Client) -> None:
    answer = api.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", answer.text)
    assert loaded
    assert all(address.startswith("/") and api.get(address).status_code == 200 for address in loaded)
