"""Implements the commands that start the whole system on this machine, and a worker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from cli.client import stays_here
from cli.embedded import PYTHON, Plan, Stack, running_stack
from cli.options import Token
from cli.settings import LOOPBACK, CliSettings, load_settings
from cli.signals import stopped_by_signals
from cli.terminal import err, out, say
from shared.brokers import host_and_port
from shared.clock import SystemClock
from shared.errors import InvalidInput
from shared.hosts import ANYWHERE, is_loopback, without_brackets
from shared.installation import how_to_call, shown_recipe

CHECK_S = 0.5


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def up(
    port: Annotated[int | None, typer.Option(help="The port of the API. [dim]\\[env: FLEETMARK_PORT; default: 5000][/]")] = None,
    bind: Annotated[
        str | None,
        typer.Option(
            help="The address to listen on. 0.0.0.0 (or :: with IPv6) lets other devices in and needs a token. "
            "[dim]\\[default: 127.0.0.1][/]"
        ),
    ] = None,
    token: Token = None,
    redis_port: Annotated[int, typer.Option(help="The port of the Redis that is started. 0 takes any free port.")] = 0,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Do not start a worker on this machine.")] = False,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="How the parts write their logs. [dim]\\[env: FLEETMARK_LOG_FORMAT; default: json][/]"),
    ] = None,
) -> None:
    """Start Redis, the orchestrator and a worker on this machine, until Ctrl-C.

    If FLEETMARK_REDIS_URL or FLEETMARK_DATABASE_URL is set, your Redis or database is used and none is started.
    Before anything starts, this command checks ports, folders, Redis and the database, and says within 3 s what is missing.
    With a token, all parts ask for a login and only you can read the files. Without one, every user of this machine has access.

    Examples:

      fleetmark up
      fleetmark up --port 5050 --no-worker
      FLEETMARK_TOKEN=… fleetmark up --bind 0.0.0.0 --redis-port 6380
      fleetmark up --log-format text
    """
    settings = load_settings()
    listen = without_brackets(bind or (LOOPBACK if "://" in settings.host else settings.host))
    secret = token or settings.token
    if not is_loopback(listen) and not secret:
        raise InvalidInput(
            f"listening on {listen} without a token would let anyone in: "
            'set one (export FLEETMARK_TOKEN=$(python3 -c "import secrets; print(secrets.token_hex(32))")), or stay on 127.0.0.1'
        )
    plan = Plan(
        data_dir=settings.data_dir,
        outputs_dir=settings.outputs_dir,
        bind=listen,
        port=port if port is not None else settings.port,
        redis_port=redis_port,
        token=secret,
        redis_url=settings.redis_url,
        database_url=settings.database_url,
        tls=settings.tls_cert is not None,
        ca_file=settings.ca_file,
        with_worker=not no_worker,
        log_format=log_format.value if log_format is not None else None,
    )
    clock = SystemClock()
    with stopped_by_signals(), running_stack(plan, clock) as stack:
        try:
            _start(stack, plan)
            stack.announce()
            _tell(stack, settings)
            while True:
                stack.check()
                clock.sleep(CHECK_S)
        except KeyboardInterrupt:
            say("\nStopping")
    # Ctrl-C is the normal end of this command, so the exit code is 0.


def _start(stack: Stack, plan: Plan) -> None:
    with err.status("Looking at what is needed") as status:
        stack.check_needs()
        status.update("Starting Redis" if plan.redis_url is None else "Starting")
        stack.start_redis()
        status.update("Starting the orchestrator")
        stack.start_orchestrator()
        if plan.with_worker:
            stack.start_worker()  # this does not wait for the orchestrator: both take seconds to import, and do so in parallel
        stack.wait_for_orchestrator()
        if plan.with_worker:
            status.update("Starting a worker")
            stack.wait_for_worker()


def _tell(stack: Stack, settings: CliSettings) -> None:
    out.print(Text("Fleetmark is up", style="bold"), f"at {stack.host}   API documentation: {stack.host}/docs")
    out.print(f"  results    {settings.outputs_dir.resolve()}")
    out.print(f"  data, logs {stack.data_dir}")
    if not stays_here(stack.host) or stack.plan.bind in ANYWHERE:
        out.print(f"  devices    reach ports {stack.port} and {host_and_port(stack.redis_url)[1]} of this machine:")
        out.print(
            f"             FLEETMARK_TOKEN=… fleetmark worker start --host {'https' if stack.plan.tls else 'http'}://{socket.gethostname()}:{stack.port}"
        )
    if settings.address() != stack.host:
        out.print(f"  first      export FLEETMARK_HOST={stack.host}   (in each terminal in which you type commands)", soft_wrap=True)
    out.print(f"  try        {how_to_call('run', shown_recipe('quickstart.yaml'), '--watch')}", soft_wrap=True)
    out.print("Ctrl-C stops it.")


def worker(context: typer.Context) -> None:
    """Run a worker on this device: `fleetmark worker start --host http://lab:5000`. All arguments after `worker` go to the worker.

    Examples:

      fleetmark worker start --host http://lab:5000
      fleetmark worker info --json
      fleetmark worker --help
    """
    sys.stdout.flush()
    command = [*PYTHON, "worker.cli", *context.args]
    if sys.platform == "win32":  # on Windows `exec` starts a second process, and the shell does not wait for it
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    # The worker replaces this process, so signals of a service manager reach the worker itself.
    os.execv(sys.executable, command)  # noqa: S606 (no shell is wanted)
