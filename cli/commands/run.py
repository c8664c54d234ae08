"""Implements the commands that submit, check and follow campaigns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import zoo
from cli.client import Client
from cli.commands.campaigns import CampaignId
from cli.commands.results import read_results, show_rows
from cli.datasets import fetched_datasets, find_datasets
from cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from cli.options import Host, Json, Token, connect
from cli.prompt_files import with_prompts
from cli.scores import await_scores
from cli.submission import prepare, read_recipe, submit
from cli.tables import campaign_outcome
from cli.terminal import counted, err, out, say, show_json
from cli.verdicts import show_verdicts
from cli.watching import watch as follow
from shared.errors import InvalidInput, nearest
from shared.installation import how_to_call
from shared.jobs import CampaignStatus

if TYPE_CHECKING:
    from shared.recipes import Recipe

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).")]
CONDITIONS = ("failed", "cancelled", "noisy")
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="CONDITION",
        help="Exit with 1 also in this case: `cancelled` (a single job was cancelled) or `noisy` (a result is graded noisy). `failed` "
        "always counts. May be given several times, or as a list with commas.",
    ),
]


def run(
    recipe: RecipeFile,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the campaign, and show the results when it has ended.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Stop following after this number of seconds, with exit code 1. The campaign goes on. Implies --watch."),
    ] = None,
    fail_on: FailOn = None,
    wait_for_device: Annotated[
        bool, typer.Option("--wait-for-device", help="Accept a device name that nobody has yet. Its jobs wait until the device registers.")
    ] = False,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Submit a recipe. Models on this machine, and networks known by name, are uploaded first.

    With --watch, the exit code is 1 if a job failed, no job is complete, or the campaign was cancelled.

    Examples:

      fleetmark run recipes/quickstart.yaml --watch
      fleetmark run gate.yaml --watch --timeout 1800 --fail-on noisy,cancelled
      fleetmark run sweep.yaml --host http://lab:5000 --json | jq -r .campaign_id
    """
    conditions = _conditions(fail_on)
    _check_timeout(timeout)
    content = read_recipe(recipe)
    with connect(host, token) as client:
        accepted = submit(client, content, recipe.parent, wait_for_device=wait_for_device)
        for warning in accepted.get("warnings", []):
            err.print("warning:", warning, style="yellow")
        campaign_id = accepted["campaign_id"]
        if not watch and timeout is None and not conditions:
            if as_json:
                show_json(accepted)
                return
            out.print(f"{campaign_id}: {counted(accepted['total_jobs'], 'job')}")
            say(f"Follow it:  {how_to_call('watch', campaign_id)}")
            return
        say(f"{campaign_id}: {counted(accepted['total_jobs'], 'job')}")
        _follow(client, campaign_id, as_json, timeout, conditions)


def _check_timeout(timeout_s: float | None) -> None:
    if timeout_s is not None and not math.isfinite(timeout_s):
        raise InvalidInput(f"--timeout {timeout_s} is no number of seconds; leave it out to follow the campaign to its end")


def _conditions(fail_on: list[str] | None) -> set[str]:
    """Return the conditions that were given, each alone or several in one list with commas.

    Raises:
        InvalidInput: one of them is unknown.
    """
    words = {word.strip() for given in fail_on or () for word in given.split(",")}
    for word in sorted(words - set(CONDITIONS)):
        raise InvalidInput(f"--fail-on {word!r}: {nearest(word, list(CONDITIONS))}")
    return words


def validate(recipe: RecipeFile, as_json: Json = False) -> None:
    """Check a recipe without submitting it. All mistakes are reported at once, each with its line. The exit code is 2 if there is one.

    Models that are files must exist. Networks known by name (NAMES) are made when they are first needed.

    Examples:

      fleetmark validate recipes/quickstart.yaml
      fleetmark validate sweep.yaml --json
    """
    from shared.recipes.cells import cells_of  # imported here, because only recipes need pydantic, which is slow to import
    from shared.recipes.remarks import remarks  # imported here for the same reason

    try:
        content = read_recipe(recipe)
        cells = sum(1 for _ in cells_of(content))
        models, datasets = prepare(content, recipe.parent), find_datasets(content, recipe.parent)
        with_prompts(content.model_dump(mode="json", exclude_unset=True), recipe.parent)
    except InvalidInput as error:
        if not as_json:
            raise
        show_json({"valid": False, **error.body()})
        raise typer.Exit(EXIT_USAGE) from error
    if as_json:
        found = [{"model": entry.model, "name": entry.name, "file": str(file) if file else None} for entry, file in models]
        said = {"recipe": content.model_dump(mode="json", exclude_unset=True), "cells": cells, "models": found}
        show_json({"valid": True, **said, "warnings": remarks(content)})
        return
    for warning in remarks(content):
        err.print("warning:", warning, style="yellow")
    out.print(f"{recipe} is valid: {content.name}")
    if content.sweep:
        out.print(
            f"  combinations of models and swept values: {cells}; each of them is one job on each compute unit and each device that is used"
        )
    out.print(f"  devices: {_devices(content, cells)}")
    for entry, file in models:
        where = f"`fleetmark run` uploads {file}" if file else "the worker fetches it, or the orchestrator knows it"
        out.print(f"  {entry.model}: {where}")
    for source, file in datasets.items():
        out.print(f"  {source}: `fleetmark run` uploads {file}")
    for source in fetched_datasets(content):
        out.print(f"  {source}: the worker fetches it")


def _devices(recipe: Recipe, cells: int) -> str:
    """Return where the jobs of a recipe go, in words."""
    from shared.recipes.cells import default_devices  # imported here for the same reason

    if isinstance(recipe.devices, tuple):
        return f"{', '.join(recipe.devices)}; each of them measures all combinations"
    meaning = recipe.devices or default_devices(cells)
    return {
        "one": "the first device that is free takes all jobs" + ("" if recipe.devices else " (`devices: any` would spread them)"),
        "any": "each job goes to a device that is free",
        "every": "every device that can run the jobs measures all combinations",
    }[meaning]


validate.__doc__ = (validate.__doc__ or "").replace("NAMES", ", ".join(zoo.NAMES))


def watch(
    campaign_id: CampaignId,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Stop following after this number of seconds, with exit code 1. The campaign goes on.")
    ] = None,
    fail_on: FailOn = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Follow a campaign until it has ended, then show its results. The exit code is that of `run --watch`.

    Example:

      fleetmark watch campaign-01jd9…
    """
    _check_timeout(timeout)
    conditions = _conditions(fail_on)
    with connect(host, token) as client:
        _follow(client, campaign_id, as_json, timeout, conditions)


def _follow(client: Client, campaign_id: str, as_json: bool, timeout_s: float | None, fail_on: set[str]) -> None:
    """Follow a campaign and show its results.

    Raises:
        typer.Exit: the campaign did not go well, it has not ended in time, or Ctrl-C was pressed.
    """
    try:
        campaign = follow(client, campaign_id, timeout_s=timeout_s)
    except KeyboardInterrupt:
        _say_it_goes_on(campaign_id)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if campaign["status"] == CampaignStatus.RUNNING:
        say(f"{timeout_s:g} s are over (--timeout)")
        _say_it_goes_on(campaign_id)
        raise typer.Exit(EXIT_FAILED)
    campaign = await_scores(client, campaign)
    rows = read_results(client, campaign_id)
    if as_json:
        show_json({"campaign": campaign, "results": rows})
    else:
        show_rows(rows)
        show_verdicts(client, campaign_id)
        say(f"{campaign_id}: {campaign_outcome(campaign)}")
        say(f"As a file:   {how_to_call('results', campaign_id, '-o results.csv')}")
        say(f"The report:  {how_to_call('report', campaign_id, '--open')}   ({client.host}/api/campaigns/{campaign_id}/report)")
    for reason in (found := _failures(campaign, rows, fail_on)):
        say(f"exit code {EXIT_FAILED}: {reason}")
    if found:
        raise typer.Exit(EXIT_FAILED)


def _say_it_goes_on(campaign_id: str) -> None:
    say(f"The campaign goes on. Follow it again:  {how_to_call('watch', campaign_id)}")
    say(f"Cancel it:                              {how_to_call('stop', campaign_id)}")


def _failures(campaign: dict[str, Any], rows: list[dict[str, Any]], fail_on: set[str]) -> list[str]:
    """Return why a campaign that has ended did not go well. Some conditions count only if they are in `fail_on`."""
    counts, noisy = campaign["job_breakdown"], sum(row.get("NoiseGrade") == "noisy" for row in rows)
    found = {
        "the campaign was cancelled": campaign["status"] == CampaignStatus.CANCELLED,
        f"{counted(campaign['failed_jobs'], 'job')} failed": campaign["failed_jobs"],
        "no job is complete": not counts["complete"],
        f"{counted(counts['cancelled'], 'cancelled job')} (--fail-on cancelled)": "cancelled" in fail_on and counts["cancelled"],
        f"{counted(noisy, 'noisy result')} (--fail-on noisy)": "noisy" in fail_on and noisy,
    }
    return [reason for reason, holds in found.items() if holds]
