"""Implements `fleetmark workers compatible`: which workers can run a recipe or a job, and what is missing at the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.compatibility import ask, recipe_body
from cli.fitting import Fitting
from cli.options import Host, Json, Token, connect
from cli.submission import read_recipe
from cli.tables import table
from cli.terminal import out, say, show_json
from shared.ids import JOB_ID

COLUMNS = [("Worker", "worker_id"), ("Device", "device_name"), ("Can run it", "can"), ("Why", "why"), ("Has", "has")]
CAN_COLUMNS = [("Worker", "worker_id"), ("Device", "device_name"), ("Work", "title"), ("Can", "can"), ("Why", "why"), ("Has", "has")]


def compatible(
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE | JOB]", help="A recipe file or the id of a job. Without it, all kinds of work are shown."),
    ] = None,
    capability: Annotated[
        str | None, typer.Option(help="Without a recipe: show only the work of this capability, such as cpu.torch.")
    ] = None,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show which workers can run a recipe or a job, and what is missing at the others. Nothing is submitted, and no model is uploaded.

    Of a language model on this machine, only its `config.json` is sent, from which the orchestrator computes the memory that it takes.

    Examples:

      fleetmark workers compatible recipes/generate.yaml
      fleetmark workers compatible campaign-01jd9…-job-1
      fleetmark workers compatible --capability cpu.torch --json
    """
    with connect(host, token) as client:
        if wanted is None:
            workers = list(client.pages("workers/compatibility/matrix", "workers", capability=capability))
            if as_json:
                show_json(workers)
            else:
                rows = [{**worker, **work} for worker in workers for work in worker["works"] if work["can_run"] or _has_unit(worker, work)]
                _show(rows, CAN_COLUMNS)
            return
        if JOB_ID.fullmatch(wanted):
            body: dict[str, Any] = {"job_id": wanted}
        else:
            recipe = Path(wanted)
            body = recipe_body(client, read_recipe(recipe), recipe.parent)
        answer = ask(client, body)
    if as_json:
        show_json(answer)
        return
    for work in answer["works"]:
        needs = work["needs"].get("memory_mb")
        out.print(f"{work['title']} on {work['compute_unit']}" + (f": the model takes {needs:.0f} MB" if needs is not None else ""))
    _show(answer["workers"], COLUMNS)
    say(f"{answer['able']} of {answer['count']} workers can run all of it.")


def _has_unit(worker: Mapping[str, Any], work: Mapping[str, Any]) -> bool:
    """Return whether a worker that cannot do a work can do another work of the same capability, so that the reason is of interest."""
    return any(other["can_run"] and other["compute_unit"] == work["compute_unit"] for other in worker["works"])


def _show(rows: Iterable[Mapping[str, Any]], columns: list[tuple[str, str]]) -> None:
    shown = [
        {
            **row,
            "can": "yes" if row["can_run"] else "no",
            "why": "; ".join([*row["missing_requirements"], *row["warnings"]]) or None,
            "has": ", ".join(row["supported_features"]) or None,
        }
        for row in rows
    ]
    out.print(Fitting(table(shown, columns)))
    if not shown:
        say("No worker is registered.")
