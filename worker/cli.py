"""Provides the worker's command line: starts a worker on this device, describes it, and checks what is missing.

Users type `fleetmark worker …`, which runs this module with `python -P -m worker.cli`.

Exit codes: 0 success; 1 a check or a measurement failed; 2 wrong usage or configuration, or refused; 3 unreachable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from shared.capabilities import add_engines_of_packages
from shared.clock import SystemClock
from shared.errors import FleetmarkError, InvalidInput
from shared.hub import HUB
from shared.masking import masked
from shared.streams import settle_streams, takes_unicode
from shared.tokens import SHOWN_IN_THE_PROCESS_LIST
from worker.access import ACCESS, Access
from worker.settings import WorkerSettings, load_settings, parse_labels

if TYPE_CHECKING:
    from worker.agent.serving import SupervisorLife
    from worker.supervisor import TelemetryOptions

EXIT_FAILED, EXIT_USAGE = 1, 2
PIPED_WIDTH = 200  # a pipe has no width, and rich would take 80 and cut off paths

app = typer.Typer(
    name="worker",
    help="Measure models on this device, for a Fleetmark orchestrator.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Host = Annotated[
    str | None, typer.Option("--host", help="The address of the orchestrator, such as `http://name:5000`. [env: FLEETMARK_HOST]")
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url", help="The address of the broker, if it differs from the one that the orchestrator gives. [env: FLEETMARK_REDIS_URL]"
    ),
]


def _console(*, stderr: bool = False) -> Console:
    """Return a console that does not interpret brackets as markup, because our texts contain them (`pip install -e '.[onnx]'`)."""
    console = Console(stderr=stderr, markup=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def _warn_of_the_process_list(token: str | None) -> str | None:
    if token is not None:
        _console(stderr=True).print(Text("warning: ", style="yellow").append(SHOWN_IN_THE_PROCESS_LIST, style="none"), soft_wrap=True)
    return token


Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        callback=_warn_of_the_process_list,
        help="The bearer token. Better set it in the environment, where `ps` does not show it. [env: FLEETMARK_TOKEN]",
    ),
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="A file that contains the token. [env: FLEETMARK_TOKEN_FILE]")]


@app.command()
def start(
    host: Host = None,
    redis_url: RedisUrl = None,
    token: Token = None,
    token_file: TokenFile = None,
    name: Annotated[
        str | None, typer.Option(help="The name of the device in reports. The default is its host name. [env: FLEETMARK_WORKER_NAME]")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A label `key=value`, for recipes that ask for it. May be given several times. [env: FLEETMARK_WORKER_LABELS]"),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="On SIGTERM, finish the running job instead of handing it back.")] = False,
    http_port: Annotated[
        int | None, typer.Option(help="The port of the info server on this device. 0 starts none. [env: FLEETMARK_WORKER_PORT]")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the identity and the unanswered results. Each worker needs its own. [env: FLEETMARK_WORKER_STATE_DIR]"
        ),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="The log level: debug, info, warning or error. [env: FLEETMARK_LOG_LEVEL]")] = None,
    log_format: Annotated[
        str | None, typer.Option(help="How log lines are written: auto, text or json. [env: FLEETMARK_LOG_FORMAT]")
    ] = None,
) -> None:
    """Register this device and run its jobs until SIGTERM or Ctrl-C.

    The first signal hands the running job back and says goodbye; a second one ends everything at once.

    Examples:

        fleetmark worker start --host http://orchestrator:5000

        fleetmark worker start --host http://orchestrator:5000 --name lab-pi --label site=lab --drain
    """
    # Imported here, because Celery and Redis are slow to import, and `--help` and a wrong setting do not need them.
    from worker.agent import Agent
    from worker.agent.log import let_go, set_up

    settings = _settings(
        host=host,
        redis_url=redis_url,
        token=token,
        token_file=token_file,
        worker_name=name,
        worker_labels=_labels(label),
        worker_drain=drain or None,
        worker_port=http_port,
        worker_state_dir=state_dir,
        log_level=log_level,
        log_format=log_format,
    )
    set_up(settings.log_level, settings.log_format)
    try:
        code = Agent(settings, supervisor=_supervisor(settings), clock=SystemClock()).run()
    except FleetmarkError as error:
        _fail(error)
    let_go()
    raise typer.Exit(code)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print the answer of `GET /api/v1/info`.")] = False) -> None:
    """Say what this device is and what it can measure. Nothing is registered or written.

    Examples:

        fleetmark worker info

        fleetmark worker info --json | jq .system_info.gpus
    """
    from worker.agent.description import describe_this_device, show

    settings = _settings()
    body = describe_this_device(settings)
    if as_json:
        _print_json(body)
    else:
        show(body, _console())


@app.command()
def validate(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each check.")] = False) -> None:
    """Check everything a worker needs on this device, and say how to mend what is missing. The exit code is 1 if something is missing.

    Example:

        fleetmark worker validate
    """
    from worker.agent.checks import check_device

    settings = _settings()
    checks = check_device(settings)
    if as_json:
        _print_json([{"check": check.name, "ok": check.ok, "found": check.found, "mend": check.mend} for check in checks])
    else:
        table = Table("", "check", Column("found", overflow="fold"), Column("how to mend", overflow="fold"))
        for check in checks:
            table.add_row(_mark(check.ok), check.name, check.found, check.mend)
        _console().print(table)
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_FAILED)


@app.command(name="test")
def try_the_way(host: Host = None, redis_url: RedisUrl = None, token: Token = None, token_file: TokenFile = None) -> None:
    """Try the way to the orchestrator and a tiny measurement, step by step. Nothing is registered.

    The exit code is 0 if all is well, 1 if the measurement failed, and 3 if something cannot be reached.

    Example:

        fleetmark worker test --host http://orchestrator:5000
    """
    from worker.agent.trial import try_out

    settings = _settings(host=host, redis_url=redis_url, token=token, token_file=token_file)
    if settings.host is None and settings.redis_url is None:
        _fail(InvalidInput("give the address to try: --host http://<orchestrator>:5000"))
    console = _console()
    code = 0
    for step in try_out(settings, _supervisor(settings)):
        console.print(_mark(step.ok), f"{step.name}: {masked(step.found)}", soft_wrap=True)
        code = code or step.exit_code
    raise typer.Exit(code)


def _mark(ok: bool) -> Text:
    return Text("ok     ", style="green") if ok else Text("problem", style="red")


def _settings(**given: object) -> WorkerSettings:
    try:
        add_engines_of_packages()
        return load_settings(**given)
    except InvalidInput as error:
        _fail(error)


def _labels(pairs: list[str] | None) -> dict[str, str] | None:
    try:
        return parse_labels(pairs) if pairs else None
    except ValueError as error:
        _fail(InvalidInput(f"--label: {error}"))


def _supervisor(settings: WorkerSettings) -> SupervisorLife:
    from worker.models import ModelStore, Own
    from worker.supervisor import Supervisor

    token = settings.token.get_secret_value() if settings.token else None
    access = ACCESS[settings.worker_type]
    models = ModelStore(
        settings.cache_dir,
        host=settings.host,
        token=token,
        ca_file=settings.ca_file,
        max_bytes=settings.worker_max_model_bytes,
        cache_bytes=settings.worker_max_cache_bytes,
        allow_private=settings.worker_allow_private_urls,
        hub=Own(settings.hf_endpoint or HUB, settings.hf_token.get_secret_value() if settings.hf_token else None),
    )
    return Supervisor(
        cache_dir=settings.cache_dir,
        models=models,
        clock=SystemClock(),
        lock_path=settings.worker_lock_file,
        host_wait_s=settings.worker_host_wait_s,
        telemetry=_telemetry(settings, access),
        access=access,
    )


def _telemetry(settings: WorkerSettings, access: Access) -> TelemetryOptions:
    from worker.supervisor import TelemetryOptions

    url = settings.worker_metrics_url if access.sees_metrics else None
    if access.sees_device:
        return TelemetryOptions(hz=settings.worker_telemetry_hz, metrics_url=url or "")
    hz = settings.worker_telemetry_hz if access.sees_metrics else 0.0
    return TelemetryOptions(hz=hz, metrics_url=url or "", hidden=access.hidden, idle_s=0.0)


def _fail(error: FleetmarkError) -> NoReturn:
    _console(stderr=True).print(Text("error:", style="red"), masked(error.detail), soft_wrap=True)
    raise typer.Exit(EXIT_USAGE) from error


def _print_json(body: object) -> None:
    sys.stdout.write(json.dumps(body, indent=2, ensure_ascii=not takes_unicode(sys.stdout)) + "\n")


def main() -> None:
    settle_streams()
    app(prog_name="fleetmark worker")


if __name__ == "__main__":
    main()
