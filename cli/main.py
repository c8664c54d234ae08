"""Assembles the commands of `fleetmark`, and turns an error into one message and an exit code."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from cli.commands import (
    broker,
    campaigns,
    compare,
    compatible,
    demo,
    doctor,
    fleet,
    flower,
    logs,
    prune,
    report,
    results,
    run,
    score,
    services,
    start,
    tokens,
)
from cli.errors import EXIT_FAILED, exit_code
from cli.terminal import show_error
from shared.errors import FleetmarkError
from shared.streams import settle_streams

app = typer.Typer(
    name="fleetmark",
    help="Benchmark ML models on every machine that you own.",
    epilog="Exit codes: 0 means success, 1 that jobs failed or that a comparison says FAIL, 2 wrong usage or an invalid recipe, 3 that no "
    "orchestrator answers, and 4 that a comparison is INCONCLUSIVE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

CANNOT_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
START, CAMPAIGNS, FLEET = "Start", "Campaigns", "Fleet"

app.command(rich_help_panel=START)(start.up)
app.command(rich_help_panel=START)(demo.demo)
app.command(rich_help_panel=START)(doctor.doctor)
app.command(
    rich_help_panel=START,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(start.worker)
app.command(rich_help_panel=START)(flower.flower)
app.command(rich_help_panel=CAMPAIGNS)(run.run)
app.command(rich_help_panel=CAMPAIGNS)(run.validate)
app.command("list", rich_help_panel=CAMPAIGNS)(campaigns.list_campaigns)
app.command(rich_help_panel=CAMPAIGNS)(campaigns.show)
app.command(rich_help_panel=CAMPAIGNS)(run.watch)
app.command(rich_help_panel=CAMPAIGNS)(results.results)
app.command(rich_help_panel=CAMPAIGNS)(report.report)
app.command(rich_help_panel=CAMPAIGNS)(compare.compare)
app.command(rich_help_panel=CAMPAIGNS)(score.score)
app.command(rich_help_panel=CAMPAIGNS)(logs.logs)
app.command(rich_help_panel=CAMPAIGNS)(campaigns.stop)
app.command(rich_help_panel=CAMPAIGNS)(prune.prune)
fleet.workers_app.command()(compatible.compatible)
app.add_typer(fleet.workers_app, name="workers", rich_help_panel=FLEET)
app.add_typer(services.services_app, name="services", rich_help_panel=FLEET)
app.command(rich_help_panel=FLEET)(fleet.queues)
app.command(rich_help_panel=FLEET)(fleet.jobs)
app.add_typer(tokens.app, name="token", rich_help_panel=FLEET)
app.command(rich_help_panel=FLEET)(broker.redis_acl)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # imported here, because it is slow to import

        typer.echo(version("fleetmark"))
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Benchmark ML models on every machine that you own."""


def main() -> None:
    """Run the command line. This function ends with `SystemExit`."""
    settle_streams()
    try:
        app()
    except FleetmarkError as error:
        show_error(error)
        sys.exit(exit_code(error))
    except OSError as error:
        if error.errno not in CANNOT_BE_WRITTEN or error.filename is not None:
            raise
        sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        sys.stdout = None  # otherwise Python would try again to write the buffered output when it ends
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
