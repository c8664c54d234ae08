"""Serves the pages that show the API. Their files are installed with it, because a lab may have no internet access."""

from __future__ import annotations

import base64
import hashlib
import re

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from orchestrator.api.roles import ASSETS

DOCUMENT = "/openapi.json"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class _Assets(StaticFiles):
    """Serves files whole and ignores `Range`, because Starlette's answer to a bad range does not have the shape of our errors."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def serve_docs(app: FastAPI) -> None:
    """Serve the OpenAPI document at /openapi.json and Swagger UI at /docs, and redirect the root to it."""
    app.mount(ASSETS, _Assets(packages=[("fastapi_swagger", "resources")]), name="docs-assets")
    page = get_swagger_ui_html(
        openapi_url=DOCUMENT,
        title=f"{app.title} API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
    )
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body).decode())

    @app.get(DOCUMENT, include_in_schema=False)
    def document() -> JSONResponse:  # it runs in a thread: FastAPI's own call would make the document in the event loop, and hold up others
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return page

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/docs")


def _policy(page: str) -> str:
    """Return the Content-Security-Policy of the page. It allows its files, its inline script (by hash), styles and inline pictures."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _INLINE_SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
