"""Implements the commands that start processes: the whole system on this machine, the demonstration, a worker, and Flower."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli.brokers import require_redis
from cli.client import Client, stays_here
from cli.commands.results import show_results
from cli.embedded import PYTHON, Plan, Stack, running_stack
from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, PartFailed, Unreachable
from cli.options import Token
from cli.ports import require_free
from cli.scores import await_scores
from cli.settings import LOOPBACK, CliSettings, load_settings
from cli.submission import prepare, read_recipe, submit
from cli.terminal import counted, err, out, say
from cli.verdicts import show_verdicts
from cli.watching import watch as follow
from shared.addresses import login_of
from shared.brokers import host_and_port
from shared.clock import SystemClock
from shared.errors import FleetmarkError, InvalidInput
from shared.hosts import ANYWHERE, in_url, is_loopback, reached_at, without_brackets
from shared.installation import ROOT, SHIPPED, how_to_call, how_to_install, in_clone, shown_recipe
from shared.tls import broker_trusting

if TYPE_CHECKING:
    from shared.recipes import Recipe

CHECK_S = 0.5
FILES_WAIT_S = 60.0
DEMO_HEARTBEAT_S = 1.0  # short, because each heartbeat updates the progress bars
QUICKSTART = SHIPPED / "quickstart.yaml"
FLOWER_PORT = 5555
FLOWER_USER = "fleetmark"


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
    with _stopped_by_signals(), running_stack(plan, clock) as stack:
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


def demo(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RECIPE]…", help="The recipes to run, one after the other.", show_default="recipes/quickstart.yaml"),
    ] = None,
) -> None:
    """Measure real networks on this machine and show the results. All parts are started and stopped for you.

    The demo does not use or change anything that is configured or running. Its parts use free ports and the folder .fleetmark/demo.
    The exit code is 1 if a job failed.

    Example:

      fleetmark demo
    """
    settings = load_settings()
    contents = [(read_recipe(recipe), recipe) for recipe in recipes or [QUICKSTART]]
    plan = Plan(data_dir=settings.data_dir / "demo", outputs_dir=settings.outputs_dir, inherit=False, heartbeat_s=DEMO_HEARTBEAT_S)
    with _stopped_by_signals(), running_stack(plan) as stack:
        try:
            failed = _demonstrate(stack, contents)
        except KeyboardInterrupt:
            say("\nStopping")
            stack.stop()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except FleetmarkError:
            say(f"What the parts said is in {stack.logs}")
            raise
        with err.status("Stopping"):
            stack.stop()
    if failed:
        say(f"{counted(failed, 'job')} failed; the logs are in {stack.logs}")
        raise typer.Exit(EXIT_FAILED)


def _demonstrate(stack: Stack, contents: Sequence[tuple[Recipe, Path]]) -> int:
    """Run the recipes on a new stack and show the results. Return the number of failed jobs.

    Args:
        contents: each recipe with its file.
    """
    stack.check_needs()
    stack.forget()
    with err.status("Starting Redis") as status:
        stack.start_redis()
        status.update("Starting the orchestrator")
        stack.start_orchestrator()
        stack.start_worker()  # this does not wait for the orchestrator: both take seconds to import, and do so in parallel
        for content, recipe in contents:
            prepare(content, recipe.parent)  # makes the networks while the parts start
        stack.wait_for_orchestrator()
        status.update("Starting a worker")
        stack.wait_for_worker()
    with stack.client() as client:
        failed = sum(_measure(stack, client, content, recipe) for content, recipe in contents)
    start = "make up" if in_clone() and Path.cwd() == ROOT else how_to_call("up")
    out.print(
        f"Next        {start}, then in another terminal:  {how_to_call('run', shown_recipe('sweep.yaml'), '--watch')}", soft_wrap=True
    )
    return failed


def _measure(stack: Stack, client: Client, content: Recipe, recipe: Path) -> int:
    """Run one recipe, and show its results and where its files are. Return the number of failed jobs."""
    accepted = submit(client, content, recipe.parent)
    campaign_id = accepted["campaign_id"]
    say(f"Measuring {counted(accepted['total_jobs'], 'job')}, each repeat in a fresh process")
    campaign = await_scores(client, follow(client, campaign_id, each_round=stack.check))
    out.print()
    show_results(client, campaign_id)
    csv = _wait_for_files(client, stack, campaign_id)
    show_verdicts(client, campaign_id)
    out.print()
    out.print(f"CSV         {csv}", soft_wrap=True)
    out.print(f"Run folder  {stack.plan.outputs_dir / campaign_id}   (report.md, plots, raw samples, run.json)", soft_wrap=True)
    return int(campaign["failed_jobs"])


def _wait_for_files(client: Client, stack: Stack, campaign_id: str) -> Path:
    """Wait until the campaign's files are written, and return the path of its CSV. This happens shortly after the campaign has ended.

    Raises:
        PartFailed: they are not written within `FILES_WAIT_S`.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + FILES_WAIT_S
    while clock.monotonic() < deadline:
        stack.check()
        if client.get(f"campaigns/{campaign_id}", jobs="false")["reported_at"]:
            files = (str(file["filename"]) for file in client.get("results/files")["files"])
            if (csv := next((name for name in files if name.startswith(campaign_id)), None)) is not None:
                return stack.plan.outputs_dir / csv
        clock.sleep(0.1)
    raise stack.parts[-2].failure(f"did not write the campaign's files within {FILES_WAIT_S:g} s")


class _Stopped(KeyboardInterrupt):
    """Is raised by Ctrl-C and by other signals that stop a command.

    It replaces a plain KeyboardInterrupt. CPython remembers one of those if it passes through an `exec` of text, which dataclasses, and so
    many imports, use. Even if it is caught, CPython then ends by SIGINT instead of with the exit code (`unhandled_keyboard_interrupt` in
    its pythonrun.c).
    """


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the `with` block in the same way as Ctrl-C. Further signals are ignored."""

    def interrupt(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # stopping takes seconds; a second signal would leave processes or files behind
        raise _Stopped

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def flower(
    redis_url: Annotated[
        str | None,
        typer.Option(
            help="The address of the broker. [dim]\\[env: FLEETMARK_REDIS_URL; default: the broker of the running `fleetmark up`][/]"
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port of Flower.")] = FLOWER_PORT,
    bind: Annotated[
        str, typer.Option(help="The address to listen on. Any address other than 127.0.0.1 needs FLOWER_BASIC_AUTH=user:password.")
    ] = LOOPBACK,
) -> None:
    """Start Flower, the monitor for Celery, for Fleetmark's queues, workers and tasks. Set its other options by FLOWER_* variables.

    Flower shows, and changes nothing: its buttons to stop a worker or to revoke a task are refused. Use `fleetmark stop` instead.
    On a system with tokens it asks for a login: FLOWER_BASIC_AUTH, or else the user `fleetmark` with the token as the password.

    Examples:

      fleetmark flower
      FLOWER_BASIC_AUTH=me:secret fleetmark flower --bind 0.0.0.0 --redis-url redis://lab:6379/0
    """
    settings = load_settings(redis_url)
    if find_spec("flower") is None:
        raise PartFailed(f"Flower is not installed: {how_to_install('orchestrator')}")
    url = settings.redis_url or Stack.announced_redis_url(settings.data_dir)
    if url is None:
        raise InvalidInput(
            f"no broker is known: nothing is up in {settings.data_dir.resolve()}. "
            f"Run `{how_to_call('up')}` here, or name the broker with --redis-url or FLEETMARK_REDIS_URL"
        )
    if not is_loopback(bind) and not settings.flower_basic_auth:
        raise InvalidInput(f"Flower on {bind} would let anyone in: set FLOWER_BASIC_AUTH=user:password, or stay on 127.0.0.1")
    login = _flower_login(settings, url)
    require_free(bind, port, "--port")
    with contextlib.suppress(Unreachable):  # Flower waits for an unreachable broker itself
        require_redis(url, settings.ca_file)
    from cli.flower import run_flower  # imported here because Celery takes half a second to import

    say(f"Flower: http://{in_url(reached_at(bind))}:{port}")
    run_flower(broker_trusting(url, settings.ca_file), bind, port, login=login, reads_settings_file=settings.flower_conf is not None)


def _flower_login(settings: CliSettings, broker: str) -> str | None:
    """Return the login that Flower must ask for, or None if it is configured elsewhere or the system has no tokens.

    Raises:
        InvalidInput: the system asks for logins, and none is known for Flower.
    """
    if settings.flower_basic_auth or settings.flower_conf is not None:
        return None
    secret = settings.token
    if secret is not None and "," not in secret:  # Flower takes a comma for the end of a login
        say(f"Flower asks for a login: user {FLOWER_USER}, and the token (FLEETMARK_TOKEN) as the password")
        return f"{FLOWER_USER}:{secret}"
    if secret is not None or login_of(broker):
        raise InvalidInput("this system asks for logins, so Flower must ask for one too: set FLOWER_BASIC_AUTH=user:password")
    return None
