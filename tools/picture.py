"""Makes the pictures of the README from the run folder of a real run: the result table of the terminal, and the report's plot.

python -m tools.picture outputs/campaign-…
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shutil
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cli.results_table import results_table

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH = 118


def table_svg(run_folder: Path) -> str:
    with (run_folder / "results.csv").open(newline="", encoding="utf-8") as file:
        made, notes = results_table(list(csv.DictReader(file)))
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO())
    console.print(Text("$ make demo", style="bold"))
    console.print(made)
    for note in notes:
        console.print(Text(note, style="dim"))
    svg = console.export_svg(title="fleetmark", unique_id="fleetmark")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # removes links to web fonts; a local font is used instead


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the README's pictures from a run folder.")
    parser.add_argument("run_folder", type=Path)
    folder: Path = parser.parse_args().run_folder
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / "quickstart.svg").write_text(table_svg(folder), encoding="utf-8")
    shutil.copyfile(folder / "plots" / "medians.png", IMAGES / "quickstart.png")
    print(f"wrote {IMAGES}/quickstart.svg and quickstart.png")


if __name__ == "__main__":
    main()
