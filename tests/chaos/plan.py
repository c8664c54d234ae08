"""Defines plans of faults: what goes wrong, when, and for how long. A plan is drawn from a seed or written by hand.

    # seconds  what      whom        for seconds
    0.84       kill      worker-2    1.3
    2.10       stop      redis       2.4

What each kind of fault does:

    kill       SIGKILL. The part is started again after that time. A killed runner or guard is replaced by its worker.
    stop       SIGSTOP. SIGCONT follows after that time.
    terminate  SIGTERM. If the part still runs after that time, it is killed, as a service manager does. It is then started again.
    wipe       SIGKILL, and the part's file is deleted. It is started with no data after that time.
    quit       PostgreSQL's immediate shutdown. It is started again after that time.
    cut        The server closes every connection, at the start of that time and again at its end.
    flush      Everything in Redis is deleted while it runs, at the start of that time and again at its end.
    full       Redis has no memory left for that time. It answers, but it refuses to store anything.
    restore    SIGKILL. The part is started again with its file as it was that time ago. This fault is never drawn for PostgreSQL:
               what was recorded in the meantime would be lost, so the jobs would run again and the counters would go back.
    readonly   PostgreSQL closes every connection and takes no writes for that time, as in a failover.
    lock       Another client holds a lock on every table of PostgreSQL for that time. Readers wait, too.
    cancel     A job that has not ended is cancelled over HTTP, and cancelled again after that time.
    retry      A job that has not ended is cancelled over HTTP, and a retry of it is requested after that time.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

WORKERS = 3
PROCESS = ("kill", "stop", "terminate")
KINDS: Mapping[str, tuple[str, ...]] = {
    "worker": PROCESS,
    "runner": ("kill", "stop"),
    "guard": ("kill", "stop"),
    "api": PROCESS,
    "consumer": PROCESS,
    "watch": PROCESS,
    "redis": ("kill", "stop", "wipe", "cut", "flush", "full", "restore"),
    "postgres": ("kill", "stop", "quit", "cut", "readonly", "lock", "restore"),
    "job": ("cancel", "retry"),
}
GOES_BACK = ("restore", "postgres")
EACH = tuple((kind, part) for part, kinds in KINDS.items() for kind in kinds if (kind, part) != GOES_BACK)
NUMBERED = ("worker", "runner", "guard")  # every device has one of each
TARGETS = tuple(f"{part}-{number}" for part in NUMBERED for number in range(1, WORKERS + 1)) + tuple(
    part for part in KINDS if part not in NUMBERED
)

# Seconds, drawn evenly between the two limits. Heartbeats time out after 3 s here, so a stop may or may not cause a timeout.
LASTS: Mapping[str, tuple[float, float]] = {
    "kill": (0.1, 2.0),
    "stop": (0.3, 5.0),
    "terminate": (2.0, 8.0),
    "wipe": (0.1, 2.0),
    "quit": (0.1, 2.0),
    "cut": (0.1, 1.0),
    "flush": (0.1, 1.0),
    "full": (0.3, 5.0),
    "restore": (0.1, 5.0),
    "readonly": (0.3, 5.0),
    "lock": (0.3, 5.0),
    "cancel": (0.1, 5.0),
    "retry": (0.1, 5.0),
}


@dataclass(frozen=True)
class Fault:
    """Describes one fault, which begins `at_s` seconds after the plan. Another fault on the same target waits until this one is over."""

    at_s: float
    kind: str
    target: str
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.at_s:<10.2f} {self.kind:<9} {self.target:<11} {self.lasts_s:.1f}"


Plan = tuple[Fault, ...]


def draw(seed: int, faults: int = 35, length_s: float = 30.0) -> Plan:
    """Return the plan of a seed, which is always the same. Each kind in `EACH` occurs once before any of them occurs again."""
    chance = random.Random(seed)
    drawn: list[tuple[str, str]] = []
    while len(drawn) < faults:
        drawn += chance.sample(EACH, len(EACH))
    times = sorted(round(chance.uniform(0, length_s), 2) for _ in range(faults))
    plan = []
    for at_s, (kind, part) in zip(times, drawn, strict=False):
        target = f"{part}-{chance.randint(1, WORKERS)}" if part in NUMBERED else part
        plan.append(Fault(at_s, kind, target, round(chance.uniform(*LASTS[kind]), 1)))
    return tuple(plan)


def written(plan: Plan) -> str:
    return "\n".join(map(str, plan)) + "\n"


def read(text: str) -> Plan:
    """Return the plan in a text of the form that `written` makes. Empty lines and comments after `#` are ignored.

    Raises:
        ValueError: a line is not a fault. The message quotes it and lists the known kinds.
    """
    lines = ((number, line.partition("#")[0].split()) for number, line in enumerate(text.splitlines(), start=1))
    return tuple(sorted((_fault(number, words) for number, words in lines if words), key=lambda fault: fault.at_s))


def _fault(number: int, words: list[str]) -> Fault:
    try:
        at_s, kind, target, lasts_s = words
        fault = Fault(float(at_s), kind, target, float(lasts_s))
    except ValueError as error:
        raise ValueError(
            f"line {number}, {' '.join(words)!r}: a fault is four words, seconds, what, whom and for how many seconds"
        ) from error
    if target not in TARGETS:
        raise ValueError(f"line {number}: there is no {target!r}; there are {', '.join(TARGETS)}")
    known = KINDS[target.partition("-")[0]]
    if kind not in known:
        raise ValueError(f"line {number}: {target} knows no {kind!r}; it knows {', '.join(known)}")
    return fault
