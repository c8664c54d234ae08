"""Implements `fleetmark compare`: whether a campaign got worse than another, as an answer and as an exit code."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.comparisons import FAIL, PASS, markdown, notes, pairs, verdict_line
from cli.errors import EXIT_FAILED, EXIT_INCONCLUSIVE
from cli.options import Host, Json, Token, connect
from cli.terminal import out, show_json
from shared.errors import InvalidInput


def compare(
    baseline: Annotated[str, typer.Argument(metavar="BASE", help="The id of the campaign to compare with.")],
    current: Annotated[str, typer.Argument(metavar="NEW", help="The id of the campaign that may have got worse.")],
    max_regression: Annotated[str, typer.Option(help="How much worse is still accepted: 5% or 0.05.")] = "5%",
    level: Annotated[float, typer.Option(help="The accepted probability of a FAIL although nothing changed, from 0.001 to 0.2.")] = 0.05,
    metric: Annotated[
        str | None, typer.Option(help="The figure to compare, such as load_ms; inferences are compared by inference_ms by default.")
    ] = None,
    allow_different: Annotated[
        list[str] | None,
        typer.Option(metavar="FACT", help="A fact that may differ, such as runtime, model or device. Several times, or with commas."),
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a comment on a change.")] = False,
    host: Host = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Say whether the campaign NEW got worse than the campaign BASE: PASS, FAIL or INCONCLUSIVE.

    Jobs of the same work, with the same options on the same device, are paired. PASS and FAIL both need evidence. What is missing, failed,
    noisy or not comparable is INCONCLUSIVE. The exit code is 0 for PASS, 1 for FAIL and 4 for INCONCLUSIVE.

    Examples:

      fleetmark compare campaign-01jd9… campaign-01jf2…
      fleetmark compare campaign-01jd9… campaign-01jf2… --max-regression 3%
      fleetmark compare campaign-01jd9… campaign-01jf2… --allow-different runtime --markdown > comment.md
      fleetmark compare campaign-01jd9… campaign-01jf2… --json | jq .verdict
    """
    if as_json and as_markdown:
        raise InvalidInput("--json and --markdown exclude each other; give one of them")
    with connect(host, token) as client:
        found: dict[str, Any] = client.get(
            "compare",
            baseline=baseline,
            current=current,
            max_regression=max_regression,
            level=level,
            metric=metric,
            allow=allow_different or None,
        )
    if as_json:
        show_json(found)
    elif as_markdown:
        out.print(markdown(found), end="", soft_wrap=True)
    else:
        out.print(verdict_line(found), soft_wrap=True)
        out.print(pairs(found, out.width))
        for note in notes(found):
            out.print(note, style="dim")
    if found["verdict"] != PASS:
        raise typer.Exit(EXIT_FAILED if found["verdict"] == FAIL else EXIT_INCONCLUSIVE)
