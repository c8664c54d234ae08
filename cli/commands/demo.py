"""Implements the demonstration: everything is started, measures real networks, and is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.client import Client
from cli.commands.results import show_results
from cli.embedded import Plan, Stack, running_stack
from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED
from cli.scores import await_scores
from cli.settings import load_settings
from cli.signals import stopped_by_signals
from cli.submission import prepare, read_recipe, submit
from cli.terminal import counted, err, out, say
from cli.verdicts import show_verdicts
from cli.watching import watch as follow
from shared.clock import SystemClock
from shared.errors import FleetmarkError
from shared.installation import ROOT, SHIPPED, how_to_call, in_clone, shown_recipe

if TYPE_CHECKING:
    from shared.recipes import Recipe

FILES_WAIT_S = 60.0
DEMO_HEARTBEAT_S = 1.0  # short, because each heartbeat updates the progress bars
QUICKSTART = SHIPPED / "quickstart.yaml"


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
    with stopped_by_signals(), running_stack(plan) as stack:
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
