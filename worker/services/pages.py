"""Asks a server on this device over HTTP: whether it is healthy, and what it counts itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any

from worker.services.base import LOOPBACK, NotHealthy

ASK_S = 2.0
SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\S+)", re.MULTILINE)


def asked(port: int, path: str, content: Any = None, timeout_s: float = ASK_S) -> tuple[int, bytes]:
    """Send one request and return the status and the body of its answer. With a content it is a POST of JSON, and a GET otherwise.

    Raises:
        NotHealthy: There is no answer within the time, or it is no HTTP.
    """
    connection = HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        body = None if content is None else json.dumps(content)
        connection.request("GET" if body is None else "POST", path, body, {} if body is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise NotHealthy(f"{LOOPBACK}:{port}{path} does not answer: {error}") from error
    finally:
        connection.close()


def need_200(port: int, path: str) -> bytes:
    """Send one GET and return the body of the answer.

    Raises:
        NotHealthy: There is no answer, or its status is not 200.
    """
    status, body = asked(port, path)
    if status != 200:
        said = " ".join(body.decode(errors="replace").split())[:200]
        raise NotHealthy(f"GET {path.partition('?')[0]} was answered with status {status}{f': {said}' if said else ''}")
    return body


def lines_of(port: int, path: str, content: Any, timeout_s: float) -> Iterator[dict[str, Any]]:
    """Send one request and yield the lines of JSON of its answer as they come.

    Raises:
        NotHealthy: No line came within the time, or it is no JSON.
    """
    connection = HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("POST", path, json.dumps(content), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        while line := answer.readline():
            yield json.loads(line)
    except (OSError, HTTPException, ValueError) as error:
        raise NotHealthy(f"{LOOPBACK}:{port}{path} does not answer with lines of JSON: {error}") from error
    finally:
        connection.close()


def counters_in(page: str, names: Iterable[str]) -> dict[str, float]:
    """Return the sum over all labels of each of these series of a page in the text format of Prometheus, as far as it has them."""
    wanted, found = set(names), dict[str, float]()
    for name, value in SAMPLE.findall(page):
        if name in wanted:
            found[name] = found.get(name, 0.0) + float(value)
    return found
