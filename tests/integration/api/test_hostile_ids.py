"""Tests every call that takes an id or a name with invalid ones. They are refused and change nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select
from sqlmodel import SQLModel

from orchestrator.operations.context import Context

SECRET = "a secret beside the outputs folder"
HOSTILE = {
    "up": "..",
    "up and out": "../../../../etc/passwd",
    "encoded": "%2e%2e%2f%2e%2e%2fsecret",
    "encoded twice": "%252e%252e%252fsecret",
    "backslashes": "..%5c..%5csecret",
    "absolute": "%2fetc%2fpasswd",
    "NUL": "campaign-0123456789abcdefgh%00",
    "line end": "campaign-0123456789abcdefgh%0d%0aX-Injected:%201",
    "a real id and a line end": "campaign-0123456789abcdefgh-job-1%0a",
    "very long": "a" * 20_000,
    "a very long number": "campaign-0123456789abcdefgh-job-" + "9" * 4_000,
    "not UTF-8": "%ff%fe",
    "half a character": "%ed%a0%80",
    "another alphabet": "campaign-%D9%A0%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7%D9%A8%D9%A9abcdefgh",
    "emoji": "%F0%9F%92%A5",
    "SQL": "'%20OR%20'1'='1",
    "a pattern": "*",
    "template": "%7B%7B7*7%7D%7D",
    "upper case": "CAMPAIGN-0123456789ABCDEFGH",
    "blank": "%20",
    "a number": "1e309",
}


def ask(api: httpx.Client, method: str, path: str) -> tuple[int, bytes]:
    """Return status and body of a call whose path no client has normalised. It has every header that some route may need."""
    address = urlsplit(str(api.base_url))
    headers = (
        f"Host: {address.netloc}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        f"Digest: sha-256={'A' * 43}=\r\nContent-Range: bytes 0-1/2\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{headers}\r\n{{}}".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"x-injected" not in head.lower()
    return int(head.split()[1]), body


def state(ctx: Context, folder: Path) -> tuple[dict[str, bytes], list[str], list[Any]]:
    """Return everything that a call could change: files, keys of Redis, and rows."""
    files = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "fleetmark.db" not in path.name
    }
    keys = sorted(str(key) for key in ctx.registry.redis.scan_iter())
    with ctx.store.read() as session:
        rows = [
            (name, session.execute(select(func.count()).select_from(table)).scalar_one())
            for name, table in SQLModel.metadata.tables.items()
        ]
    return files, keys, rows


def routes(api: httpx.Client) -> list[tuple[str, str]]:
    """Return method and path of every call whose path has a parameter, according to the API's description."""
    paths: dict[str, dict[str, Any]] = api.get("/openapi.json").json()["paths"]
    found = [(method.upper(), path) for path, methods in paths.items() if "{" in path for method in methods]
    assert len(found) >= 14
    return found


def test_an_id_that_cannot_be_is_refused_by_every_route_and_touches_nothing(api: httpx.Client, ctx: Context, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    ctx.settings.outputs_dir.mkdir(parents=True)
    real = api.post("/api/campaigns", json={"model_url": "https://models.example/m", "jobs": [{"compute_unit": "cpu.onnx"}]}).json()
    ids = {
        "campaign_id": real["campaign_id"],
        "job_id": real["jobs"][0]["job_id"],
        "attempt": "1",
        "name": "samples.npz",
        "sha256": "0" * 64,
    }
    before = state(ctx, tmp_path)
    asked = 0
    for method, path in routes(api):
        for parameter in re.findall(r"\{(\w+)(?::path)?\}", path):
            for what, hostile in HOSTILE.items():
                filled = re.sub(r"\{(\w+)(?::path)?\}", lambda found: hostile if found[1] == parameter else ids.get(found[1], "x"), path)  # noqa: B023
                status, body = ask(api, method, filled)
                assert status in (404, 422), (method, path, parameter, what, status, body[:300])
                assert SECRET.encode() not in body
                assert b"Traceback" not in body
                asked += 1
    assert asked > 250
    assert state(ctx, tmp_path) == before
    assert api.get("/api/health").status_code == 200


def test_names_in_queries_and_bodies_are_refused_too(api: httpx.Client, ctx: Context, tmp_path: Path) -> None:
    before = state(ctx, tmp_path)
    for hostile in ("../x", "a\x00b", "a\r\nX-Injected: 1", "x" * 5_000, "\x1b[2J"):
        for path, parameters in (
            ("/api/jobs", {"campaign": hostile}),
            ("/api/jobs", {"worker": hostile}),
            ("/api/jobs", {"cursor": hostile}),
            ("/api/campaigns", {"cursor": hostile}),
            ("/api/workers", {"capability": hostile}),
        ):
            assert api.get(path, params=parameters).status_code == 422, (path, parameters)
        assert api.post("/api/models", params={"name": hostile}, content=b"x").status_code == 422, hostile
        assert api.post("/api/models", params={"name": "m", "sha256": hostile}, content=b"x").status_code == 422, hostile
        if hostile == "../x":
            continue  # this text is a valid name of a campaign or a device
        for key in ("name", "model_url"):
            body = {"model_url": "https://models.example/m", "jobs": [{"compute_unit": "cpu.onnx"}], key: hostile}
            assert api.post("/api/campaigns", json=body).status_code == 422, (key, hostile)
        job = {"compute_unit": "cpu.onnx", "device": hostile}
        assert api.post("/api/campaigns", json={"model_url": "https://models.example/m", "jobs": [job]}).status_code == 422, hostile
        assert api.post("/api/register", json={"device_name": hostile, "capabilities": ["cpu.onnx"]}).status_code == 422, hostile
    assert state(ctx, tmp_path) == before
