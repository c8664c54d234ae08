"""Tests that a command imports only what it needs. Imports are most of the time that a short command takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.unit.cli.scripted_server import ScriptedServer
from tests.unit.cli.test_commands import CAMPAIGN, QUEUES

HEAVY = ("pydantic", "pydantic_settings", "redis", "celery", "kombu", "yaml", "numpy", "onnx", "sqlalchemy", "fastapi", "asyncio")
ASK = (
    *(["list"], ["list", "--json"], ["show", "campaign-1"], ["jobs"], ["workers"], ["queues"]),
    *(["--help"], ["list", "--help"], ["run", "--help"], ["up", "--help"], ["doctor", "--help"]),
)
CODE = f"""
import json, sys
from cli.main import main
for arguments in {ASK!r}:
    sys.argv = ["fleetmark", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), (arguments, end.code)
    for name in {HEAVY!r}:
        assert name not in sys.modules, (arguments, name)
"""


def _run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_command_that_only_asks_imports_neither_the_recipes_nor_the_broker(server: ScriptedServer) -> None:
    server.on("GET /api/campaigns", {"count": 1, "campaigns": [CAMPAIGN], "next_cursor": None})
    server.on("GET /api/campaigns/campaign-1", CAMPAIGN | {"jobs": [job | {"options": {}} for job in CAMPAIGN["jobs"]]})
    server.on("GET /api/jobs", {"count": 1, "jobs": CAMPAIGN["jobs"], "next_cursor": None})
    server.on("GET /api/workers", {"count": 0, "workers": []})
    server.on("GET /api/queue/status", QUEUES)
    done = _run(CODE, FLEETMARK_HOST=server.url)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


def test_the_modules_of_this_test_are_those_that_a_recipe_needs() -> None:
    """If the names were wrong, the test above would find nothing."""
    done = _run(
        f"import json, sys, cli.main, shared.recipes, redis; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert {"pydantic", "redis", "yaml", "asyncio"} <= set(json.loads(done.stdout)), done.stderr


def test_the_commands_of_the_parts_import_their_servers_when_they_serve() -> None:
    for module, heavy in (("orchestrator.cli", "fastapi"), ("worker.cli", "celery")):
        done = _run(f"import sys, {module}; print({heavy!r} in sys.modules)")
        assert done.stdout == "False\n", done.stderr
