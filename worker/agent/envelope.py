"""Recognises which messages of a queue are jobs, and makes all other messages harmless. A queue may contain anything.

Celery trusts its queues. An envelope that it cannot read ends its loop. If the body has an unexpected shape, the message is lost in
Celery's pool but stays reserved for ever. And a message may ask the worker to send other tasks.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.transport.virtual import Message
from kombu.utils.json import loads
from redis import ConnectionError  # noqa: A004 - the exception by which kombu recognises a lost connection

from shared.protocol.messages import TASK_NAME

# Our own messages never use these fields. Obeying them would mean sending other tasks, or keeping the message for years.
_WISHES = ("callbacks", "errbacks", "chain", "chord")
_TIMES = ("eta", "expires")


class AnyMessage(Message):  # type: ignore[misc]  # kombu has no types
    """Extends kombu's message: something that is not an envelope gets one around it, so that it can be read and rejected, too."""

    def __init__(self, payload: Any, channel: Any = None, **more: Any) -> None:
        try:
            _check_envelope(payload)
            super().__init__(payload, channel=channel, **more)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            super().__init__(_around(payload), channel=channel, **more)


def _check_envelope(payload: Any) -> None:
    """Check that kombu can read an envelope, and that its body is not compressed.

    Raises:
        ValueError, TypeError, KeyError: kombu would fail on it, or would decompress it without a limit.
    """
    properties, headers = payload["properties"], payload.get("headers") or {}
    delivery = properties["delivery_info"]
    words = (properties["delivery_tag"], delivery["exchange"], delivery["routing_key"])
    if not all(isinstance(word, str) for word in words) or not isinstance(headers, dict) or headers.get("compression"):
        raise ValueError


def _around(payload: Any) -> dict[str, Any]:
    return {
        "body": payload if isinstance(payload, str) else json.dumps(payload),
        "headers": {},
        "properties": {"delivery_tag": str(uuid.uuid4()), "delivery_info": {"exchange": "", "routing_key": ""}},
    }


def reading(take: Callable[..., Any], *, answered: Callable[[], None], unreadable: Callable[[str, str], None]) -> Callable[..., Any]:
    """Wrap a Redis client's `parse_response`, so that each message is checked before kombu reads it.

    Args:
        take: The client's own `parse_response`.
        answered: Called when Redis has answered a request for a message, with or without one.
        unreadable: Called with the reason and the text of a message that is not JSON, or is JSON that kombu cannot read. kombu is then
            told that no message came.
    """

    def take_readable(connection: Any, command: str, **options: Any) -> Any:
        try:
            answer = take(connection, command, **options)
        except ValueError as error:  # the connection is at fault, not a message: a TLS socket was closed, or the bytes are not an answer
            raise ConnectionError(f"the connection to the broker gave no answer: {error}") from error
        if command == "BRPOP":
            answered()
        if not answer or command != "BRPOP":
            return answer
        raw: bytes = answer[1]
        try:
            loads(raw)
        except Exception as error:  # noqa: BLE001 - kombu converts dates and numbers, which may fail in any way; the reason is kept
            reason = "not JSON" if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)) else "JSON that cannot be read"
            unreadable(f"{reason}: {error}", raw.decode(errors="backslashreplace"))
            return None
        return answer

    return take_readable


def fault_of(message: Any) -> str | None:
    """Return why a message is not one of our jobs. None if its only argument may be an assignment."""
    headers = message.headers
    if "task" not in headers:
        return "not a message of Celery's protocol 2"
    if headers["task"] != TASK_NAME:
        return f"no task of this worker is called {headers['task']!r:.200}; it runs {TASK_NAME}"
    if not isinstance(headers.get("id"), str):
        return "the message has no id"
    for name in _TIMES:
        if headers.get(name) is not None:
            return f"the message asks for {name} {headers[name]!r:.200}; a job is run when it is taken"
    if headers.get("timelimit") not in (None, [None, None]):
        return "the message asks for a time limit; a job has its own"
    try:
        body = message.payload
    except (DecodeError, ContentDisallowed, ValueError, TypeError, LookupError, RecursionError) as error:
        return f"the body cannot be decoded: {error}"
    if not (isinstance(body, list) and len(body) == 3 and isinstance(body[0], list) and isinstance(body[1], dict)):
        return "the body is not [arguments, keywords, what else to do]"
    if not isinstance(body[2] or {}, dict):
        return "what the message asks for beside its arguments is no mapping"
    wishes = [name for name in _WISHES if (body[2] or {}).get(name)]
    return f"the message asks for other tasks to be sent ({', '.join(wishes)})" if wishes else None
