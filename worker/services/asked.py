"""Asks a server on this device over HTTP, for health checks. No library is needed for this."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable
from dataclasses import dataclass

from worker.services.base import LOOPBACK, NotHealthy

ASK_S = 5.0
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\S+)", re.MULTILINE)
MOST_BYTES = 4 * 2**20  # of an answer that is read


@dataclass(frozen=True)
class Said:
    status: int
    text: str


def asked(port: int, target: str) -> Said:
    """Send one GET, and return the answer whatever its status is.

    Raises:
        NotHealthy: There is none, or it is not HTTP.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ASK_S)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return Said(answer.status, answer.read(MOST_BYTES).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        raise NotHealthy(f"{LOOPBACK}:{port} does not answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def need_200(port: int, target: str) -> Said:
    """Send one GET, and return the answer.

    Raises:
        NotHealthy: Its status is not 200.
    """
    said = asked(port, target)
    if said.status != 200:
        raise NotHealthy(f"GET {target.partition('?')[0]} was answered with status {said.status}: {' '.join(said.text.split())[:200]}")
    return said


def counters_in(page: str, names: Iterable[str]) -> dict[str, float]:
    """Return the sum over all labels of each of these series of a page in the text format of Prometheus, as far as it has them."""
    wanted, found = set(names), dict[str, float]()
    for name, value in SAMPLE.findall(page):
        if name in wanted:
            found[name] = found.get(name, 0.0) + float(value)
    return found
