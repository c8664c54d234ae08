"""Opens the results in a real spreadsheet with a German locale, and compares each cell with what was written.

    make test-spreadsheet        # needs LibreOffice: apt-get install --no-install-recommends libreoffice-calc

LibreOffice converts the file of `--format excel`, as a double click opens it, to a flat document, whose cells say whether each is
a number and which. The plain CSV is opened in the same way, to show that it is misread there: else the check would prove nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from orchestrator.reports.columns import COLUMNS, TEXT_COLUMNS, Cell, Row
from orchestrator.reports.excel import stream_excel
from orchestrator.reports.tables import stream_csv

GERMAN = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Setup/L10N"><prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>de-DE</value></prop></item>
</oor:items>
"""
SEMICOLON, COMMA = 59, 44
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"


def rows() -> list[Row]:
    """Return rows with the values that are easily misread: three decimals, small ones, and text that looks like a formula."""
    numbers: Row = {name: 1.5 + place for place, name in enumerate(COLUMNS) if name not in TEXT_COLUMNS}
    words: Row = {name: f"wort {place} äß" for place, name in enumerate(COLUMNS) if name in TEXT_COLUMNS}
    odd: Row = {
        "FileSize": 4_956_208,
        "PeakLoadRamUsage": 43.957,
        "TotalTimeS": 0.168,
        "CostPer1000": 5e-09,
        "InferenceMsMedian": 1234567.125,
        "FileName": "=1+1",
        "Parameters": "batch_size=8; threads=2",
        "Error": 'eine "Zelle"; mit\nZeilen',
    }
    return [{**numbers, **words}, odd]


def opened(file: Path, separator: int) -> list[list[Cell]]:
    """Return the cells of a file as a German LibreOffice reads them: numbers as numbers, all else as text."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "profile", "user")
        profile.mkdir(parents=True)
        (profile / "registrymodifications.xcu").write_text(GERMAN)
        # The numbers mean: separator, quote, UTF-8 (76), and reading from line 1. The language is left to the locale, which is German.
        reading = f"--infilter=CSV:{separator},34,76,1"
        command = ["soffice", "--headless", f"-env:UserInstallation={profile.parent.as_uri()}", reading]
        command += ["--convert-to", "fods", "--outdir", folder, str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=180)
        document = ElementTree.parse(Path(folder, f"{file.stem}.fods"))  # noqa: S314 (of our own making)
    return [list(_cells(row)) for row in document.iter(f"{_TABLE}table-row")]


def _cells(row: ElementTree.Element) -> Iterator[Cell]:
    for cell in row.iter(f"{_TABLE}table-cell"):
        value: Cell = None
        if cell.get(f"{_OFFICE}value-type") == "float":
            value = float(cell.get(f"{_OFFICE}value", "nan"))
        elif paragraphs := cell.findall(f"{_TEXT}p"):
            value = "\n".join("".join(paragraph.itertext()) for paragraph in paragraphs)
        yield from [value] * min(int(cell.get(f"{_TABLE}number-columns-repeated", "1")), len(COLUMNS))


def differences(content: bytes, separator: int) -> list[str]:
    """Return where a German LibreOffice reads other values than were written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "results.csv")
        file.write_bytes(content)
        header, *lines = opened(file, separator)
    found = [] if header[: len(COLUMNS)] == list(COLUMNS) else [f"the header is {header[:5]} …"]
    if len(lines) < len(rows()):
        found.append(f"{len(lines)} lines were read, {len(rows())} were written")
    for number, (row, line) in enumerate(zip(rows(), lines, strict=False), start=1):
        padded = [*line, *[None] * len(COLUMNS)][: len(COLUMNS)]  # empty cells at the end of a line are not written out
        for name, cell in zip(COLUMNS, padded, strict=True):
            expected = row.get(name)
            expected = f"'{expected}" if isinstance(expected, str) and expected.startswith("=") else expected
            if cell != expected:
                found.append(f"row {number}, {name}: wrote {expected!r}, read {cell!r}")
    return found


def main() -> int:
    if shutil.which("soffice") is None:
        print("LibreOffice is not installed: apt-get install --no-install-recommends libreoffice-calc", file=sys.stderr)
        return 2
    mistaken = differences(b"".join(stream_excel(rows())), SEMICOLON)
    plain = differences(b"".join(stream_csv(rows())), COMMA)
    print(f"--format excel: {len(mistaken)} cells are read wrong by a German spreadsheet")
    print(f"the plain CSV: {len(plain)} cells are; if there are none, the locale is not German")
    for one in (one for one in plain if "PeakLoadRamUsage" in one or "TotalTimeS" in one):
        print(f"  {one}")
    for one in mistaken:
        print(f"  {one}")
    return 1 if mistaken or not plain else 0


if __name__ == "__main__":
    sys.exit(main())
