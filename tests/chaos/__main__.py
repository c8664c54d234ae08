"""Implements `make chaos`. It runs many seeds and prints one line for each, or runs one plan from a file.

    python -m tests.chaos --seeds 20 --first 1 --faults 35 --length 30
    python -m tests.chaos --plan plan.txt

If a plan fails, its folder with all logs is kept, and its path is printed.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from tests.chaos.plan import Plan, draw, read
from tests.chaos.seed import Verdict, run

FOLDER = Path("build/chaos")


def main(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 20,
    first: Annotated[int, typer.Option(help="The first of them.")] = 1,
    faults: Annotated[int, typer.Option(min=1, help="Faults in each plan.")] = 35,
    length: Annotated[float, typer.Option(min=1, help="Seconds over which a plan's faults are spread.")] = 30.0,
    locked: Annotated[bool, typer.Option("--locked", help="With tokens, a login for each worker, and signed reports.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folders of plans that left everything as it must be, too.")] = False,
    plan: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A plan to carry out instead, as it is printed.")] = None,
) -> None:
    """Kill, stop and restart every part of the whole system while it runs 200 jobs. Then check whether anything was lost."""
    if plan is not None:
        plans = {plan.stem: read(plan.read_text())}
    else:
        plans = {f"seed {seed}": draw(seed, faults, length) for seed in range(first, first + seeds)}
    failed = [name for name, drawn in plans.items() if _carry_out(name, drawn, locked=locked, keep=keep).problems]
    typer.echo(f"{len(plans) - len(failed)} of {len(plans)} plans left everything as it must be")
    raise typer.Exit(1 if failed else 0)


def _carry_out(name: str, plan: Plan, *, locked: bool, keep: bool) -> Verdict:
    folder = FOLDER.resolve() / f"{name.replace(' ', '-')}-{time.strftime('%H%M%S')}"
    verdict = run(plan, folder, locked=locked)
    typer.echo(f"{name}: {verdict.line()}")
    if verdict.problems:
        typer.echo(verdict.report())
    elif keep:
        typer.echo(f"logs and outputs: {folder}")
    else:
        shutil.rmtree(folder)
    return verdict


if __name__ == "__main__":
    typer.run(main)
