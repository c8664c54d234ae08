"""Defines the interface of a tool: a program of other people that sends the requests of a load in place of our own clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

News = Callable[[str], None]  # is told how a phase goes, in a few words
Steps = tuple[tuple[float, int], ...]  # latencies in ms, each with how many requests took at most so long
EndsEarly = Callable[[], bool]  # says whether a tool shall end now, with what it has measured


@dataclass(frozen=True)
class ToolPhase:
    """Says what a tool does in one phase.

    Attributes:
        operations: The weight of each operation.
        rate: Requests per second on a schedule; None for a closed loop.
        in_flight: How many requests are in flight, of all processes together.
        processes: How many threads send them.
        count, duration_s: How many requests are sent, or for how long; one of the two is set.
        lead_s: How long requests are sent before the measured window begins.
        seed: What the tool's random numbers begin with, if it can be told.
        folder: Where the tool may write files.
        burstiness: With a rate, the shape of the gaps: 1 is Poisson, and infinity is even.
    """

    name: str
    operations: Mapping[str, float]
    rate: float | None
    in_flight: int
    processes: int
    count: int | None
    duration_s: float | None
    lead_s: float
    seed: int
    folder: Path
    burstiness: float = 1.0


@dataclass(frozen=True)
class ToolRun:
    """Holds what a tool told about one phase.

    Attributes:
        command: The command line, without passwords.
        printed: The tool's own figures, by the names that it prints.
        began_at: When the measured window began, in seconds since 1970.
        records: The file with a record for each request (`shared.request_records`), if the tool tells of each.
        steps: Otherwise the latencies that it printed, by the operation.
        window_s: Otherwise how long it sent requests.
        stopped: What the tool said when it gave up. Empty if it did what it was asked for.
        ended_early: Whether it was told to end before it had done what it was asked for.
    """

    command: str
    printed: Mapping[str, float]
    began_at: float
    records: Path | None = None
    steps: Mapping[str, Steps] = field(default_factory=dict)
    window_s: float = 0.0
    stopped: str = ""
    ended_early: bool = False


class Tool(Protocol):
    """Drives one service with one program.

    Args of the constructor: the address of the service, the client's settings with all defaults, and the passwords of the worker's
    environment.
    """

    operations: tuple[str, ...]
    """The operations by the numbers that its records give them. The names are those of our own driver."""

    def __init__(self, address: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> None: ...

    def version(self) -> str:
        """Return the name and version of the program.

        Raises:
            EngineUnavailable: It is not on this device. The message says how to install it.
        """

    def run(self, phase: ToolPhase, on_news: News, ends_early: EndsEarly) -> ToolRun:
        """Run one phase, and return when it has ended.

        Raises:
            JobError: The tool cannot do it, or reached nothing.
            JobCancelled: It was told to end before it had anything to tell.
        """


@dataclass
class Ended:
    """Holds how a program ended."""

    code: int
    output: str
    errors: list[str] = field(default_factory=list)
    early: bool = False

    def last_words(self) -> str:
        said = [line for line in [*self.output.splitlines(), *self.errors] if line.strip()]
        return said[-1].strip()[:500] if said else "it wrote nothing"
