"""Registers a worker: at the orchestrator, which tells it the broker's address, or directly in Redis."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from shared.addresses import login_of, with_login
from shared.brokers import shown_place
from shared.clock import CLOCK_TOLERANCE_S, Clock, SystemClock
from shared.errors import Conflict, FleetmarkError, IdentityInUse, Unauthorized, Unavailable
from shared.hosts import in_url, is_this_machine
from shared.tls import MEND, Untrusted, refusal
from shared.web import FAILURES, by_way_of, web_client
from shared.workers import Registration
from worker.agent.broker import Broker

log = logging.getLogger(__name__)

# Status codes below 500 after which another try may succeed, because the server is busy or starting. Other refusals are final.
PASSING = frozenset({408, 425, 429})
_CAPABILITY = re.compile(r"capabilities\.(\d+)")  # the path of a field that the orchestrator refuses


@dataclass(frozen=True)
class Registered:
    worker_id: str
    action: str  # created | reconnected
    broker_url: str
    report_key: str | None = field(default=None, repr=False)
    clock_offset_s: float | None = None  # how far this device's clock is ahead of the orchestrator's; None if they were not compared
    left_out: tuple[str, ...] = ()  # capabilities that the orchestrator does not know, so that it sends no jobs for them

    def known_of(self, registration: Registration) -> Registration:
        """Return a registration without the capabilities that were left out.

        A broker with logins refuses whoever asks for a queue of these, whatever other queues are asked for at the same time.
        """
        return registration.model_copy(update={"capabilities": [name for name in registration.capabilities if name not in self.left_out]})


def register_by_http(
    host: str,
    token: str | None,
    registration: Registration,
    redis_url: str | None,
    ca_file: Path | None = None,
    timeout_s: float = 15,
    clock: Clock | None = None,
) -> Registered:
    """Register at an orchestrator (`POST /api/register`), which compares this device's clock with its own.

    An orchestrator of an earlier version refuses capabilities that it does not know. The worker then registers with the others.

    Raises:
        Unavailable: The orchestrator does not answer, something else answers, or it is not ready. Try again.
        Untrusted: Its certificate is not signed by an authority that is known here.
        IdentityInUse: Another living process uses this device's identity.
        Unauthorized: It requires another token.
        FleetmarkError: It refuses for another reason, which is its message.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    clock = clock or SystemClock()
    sent_at = clock.now().timestamp()
    said = registration.model_copy(update={"clock": sent_at})
    left_out: list[str] = []
    with web_client(host, headers=headers, timeout=timeout_s, ca_file=ca_file) as client:
        answer = _asked(client, host, said)
        while len(said.capabilities) > 1 and (unknown := _unknown_capability(answer, said.capabilities)) is not None:
            left_out.append(unknown)
            sent_at = clock.now().timestamp()
            known = [name for name in said.capabilities if name != unknown]
            said = said.model_copy(update={"clock": sent_at, "capabilities": known})
            answer = _asked(client, host, said)
    if answer.is_success:
        if left_out:
            log.warning(
                "the orchestrator at %s does not know %s, so it sends no such jobs to this worker: it has an earlier version, which you "
                "can upgrade, or it lacks a package of an engine that is installed here",
                host,
                ", ".join(left_out),
            )
        body = _registration(answer, host)
        told = str(body.get("broker_url") or "")
        if not told and not redis_url:
            raise FleetmarkError(
                f"{host} registered this worker but named no broker: give the token that has the worker role, or --redis-url"
            )
        if not redis_url and told.startswith("unix:") and not is_this_machine(urlsplit(host).hostname or ""):
            raise FleetmarkError(
                f"{host} reaches its broker by a socket of its own machine ({shown_place(told)}), which this device cannot: set "
                "FLEETMARK_WORKER_REDIS_URL there, or give --redis-url here"
            )
        broker_url = with_login_given(redis_url, told) if redis_url else reachable_broker(told, host)
        # A slow request makes this device's clock seem to be behind. So the duration of the request is subtracted from that.
        way_s = clock.now().timestamp() - sent_at
        offset_s = body.get("clock_offset_s")
        if isinstance(offset_s, int | float) and -CLOCK_TOLERANCE_S - way_s < offset_s < 0:
            offset_s = min(0.0, offset_s + way_s)
        return Registered(
            body["worker_id"],
            body.get("action", ""),
            broker_url,
            body.get("report_key"),
            float(offset_s) if isinstance(offset_s, int | float) else None,
            tuple(left_out),
        )
    detail = _detail(answer)
    if answer.status_code == httpx.codes.CONFLICT:
        raise IdentityInUse(detail)
    if answer.status_code in (401, 403):
        raise Unauthorized(f"{host} wants another token{by_way_of(host)} ({detail}): set FLEETMARK_TOKEN or give --token-file")
    if answer.is_server_error or answer.status_code in PASSING:
        raise Unavailable(f"the orchestrator at {host} is not ready{by_way_of(host)}: {detail}")
    others = f"; it does not know {', '.join(left_out)} either, so upgrade it if its version is earlier" if left_out else ""
    raise FleetmarkError(f"the orchestrator at {host} refused this worker{by_way_of(host)} with {answer.status_code}: {detail}{others}")


def _asked(client: httpx.Client, host: str, registration: Registration) -> httpx.Response:
    """Send a registration, and return the answer.

    Raises:
        Unavailable: The orchestrator does not answer.
        Untrusted: Its certificate is not signed by an authority that is known here.
    """
    try:
        return client.post("/api/register", json=registration.model_dump(mode="json"))
    except FAILURES as error:
        if (why := refusal(error)) is not None:
            raise Untrusted(f"the certificate of {host} is not trusted: {why}; {MEND}") from error
        raise Unavailable(f"cannot reach the orchestrator at {host}{by_way_of(host)}: {error}") from error


def _unknown_capability(answer: httpx.Response, capabilities: list[str]) -> str | None:
    """Return the capability that the orchestrator refuses because it does not know it. None if it refuses nothing, or something else.

    It names the first one only, by its place in the list.
    """
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return None
    paths = [str(field.get("path")) for field in _fields(answer)]
    places = [int(found[1]) for path in paths if (found := _CAPABILITY.fullmatch(path)) is not None]
    return capabilities[places[0]] if len(places) == len(paths) == 1 and places[0] < len(capabilities) else None


def _registration(answer: httpx.Response, host: str) -> dict[str, Any]:
    """Return the body if an orchestrator has sent it. A proxy, or a maintenance page, may answer with status 200 as well."""
    body = _body(answer)
    if body is None or not isinstance(body.get("worker_id"), str):
        said = answer.text[:300] or "nothing"
        raise Unavailable(
            f"{host} answered {answer.status_code}{by_way_of(host)}, but not as an orchestrator does ({said}): is the address right?"
        )
    return body


def _body(answer: httpx.Response) -> dict[str, Any] | None:
    """Return the JSON object that was answered. None if it is something else."""
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _fields(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the fields of a request that an orchestrator refuses, each with its `path` and a `message`."""
    return [field for field in (_body(answer) or {}).get("fields") or [] if isinstance(field, dict)]


def _detail(answer: httpx.Response) -> str:
    """Return what the orchestrator says, without a message that it says twice."""
    body = _body(answer)
    if body is None:
        return f"{answer.status_code} {answer.text[:300] or answer.reason_phrase}"
    detail = str(body.get("detail", body))
    told = [(str(field.get("message")), f"{field.get('path')}: {field.get('message')}") for field in _fields(answer)]
    return "; ".join([detail, *(whole for message, whole in told if message != detail and whole not in detail)])


def reachable_broker(broker_url: str, host: str) -> str:
    """Return the broker's address as this device can use it. A loopback name from another machine means that machine."""
    broker, orchestrator = urlsplit(broker_url), urlsplit(host)
    if not is_this_machine(broker.hostname or "") or orchestrator.hostname is None or is_this_machine(orchestrator.hostname):
        return broker_url
    user, at, _ = broker.netloc.rpartition("@")
    port = f":{broker.port}" if broker.port else ""
    return urlunsplit(broker._replace(netloc=f"{user}{at}{in_url(orchestrator.hostname)}{port}"))


def with_login_given(redis_url: str, told: str) -> str:
    """Return the broker's address that the user gave, with the login from the orchestrator unless the address has its own."""
    login = login_of(told)
    return redis_url if "@" in urlsplit(redis_url).netloc or not login else with_login(redis_url, login)


def register_in_redis(broker: Broker, redis_url: str, registration: Registration, clock: Clock | None = None) -> Registered:
    """Register without an orchestrator. This device's clock is compared with Redis's clock.

    Raises:
        IdentityInUse: Another living process uses this device's identity.
        Unavailable: Redis does not answer.
    """
    offset_s = broker.clock_offset_s(clock or SystemClock())
    worker_id, action = broker.register(registration, offset_s)
    if action == "conflict":
        raise IdentityInUse(f"{worker_id} (UDID {registration.device_info.UDID}) is alive in another process")
    return Registered(worker_id, action, redis_url, clock_offset_s=offset_s)


def explain_conflict(error: Conflict, state_dir: object, timeout_s: float) -> str:
    """Return the message about a refused identity: what happened, and what to do."""
    return (
        f"{error.detail}. Two living workers cannot be one device, and the other one was heard all through {timeout_s:g} s. If this disk "
        f"was cloned, delete {state_dir}/identity.json and start again; if the other worker is meant to be gone, stop it"
    )
