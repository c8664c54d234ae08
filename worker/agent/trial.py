"""Implements `test`: tries the connections to the orchestrator and the broker, and one tiny measurement. Each step reports its result."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.brokers import shown_place
from shared.errors import InvalidInput
from shared.hosts import in_url
from shared.ids import job_id
from shared.inputs import ModelRef
from shared.installation import how_to_call
from shared.protocol.condition import troubles
from shared.protocol.messages import Assignment
from shared.readiness import CONNECT_S
from shared.repetition import Warmup
from shared.tls import MEND, broker_trusting, refusal
from shared.tokens import Role
from shared.web import FAILURES, by_way_of, web_client
from shared.workloads import inference_workload
from worker.access import ACCESS
from worker.agent.capabilities import offered, takes_models
from worker.agent.registration import reachable_broker
from worker.agent.serving import SupervisorLife
from worker.engines.registry import write_trial_model
from worker.hardware import detect
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from worker.supervisor import Outcome

FAILED, UNREACHABLE = 1, 3
TIMEOUT_S = 10.0  # the limit for an answer of a server that has accepted the connection
TIMEOUT = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
TRIAL_CAMPAIGN = f"campaign-{'0' * 18}"


@dataclass(frozen=True)
class Step:
    name: str
    found: str
    exit_code: int = 0

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


def try_out(settings: WorkerSettings, supervisor: SupervisorLife) -> Iterator[Step]:
    """Yield each step when it has ended. Each step is tried even if earlier steps failed."""
    broker_url = settings.redis_url
    if settings.host is not None:
        health, named = _orchestrator(settings)
        yield health
        if health.ok:
            yield _token(settings)
        broker_url = broker_url or named
    if broker_url is not None:
        yield _broker(broker_trusting(broker_url, settings.ca_file))
    access = ACCESS[settings.worker_type]
    if not access.sees_device:
        yield Step("measurement", f"not tried: {access.words} only sends requests to services; a recipe with an `address` tries one")
        return
    yield from _measurement(supervisor)


def _orchestrator(settings: WorkerSettings) -> tuple[Step, str | None]:
    """Ask for the orchestrator's health. Also returns the broker's address, without the password, which only registration gives."""
    host = settings.host or ""
    try:
        with web_client(host, timeout=TIMEOUT, ca_file=settings.ca_file) as client:
            answer = client.get("/api/health")
        body = _object(answer)
    except InvalidInput as error:
        return Step("orchestrator", error.detail, UNREACHABLE), None
    except (*FAILURES, ValueError) as error:
        if (why := refusal(error)) is not None:
            return Step("orchestrator", f"the certificate of {host} is not trusted: {why}; {MEND}", UNREACHABLE), None
        return Step("orchestrator", f"{host} does not answer as one{by_way_of(host)}: {error}", UNREACHABLE), None
    redis_parts = body.get("redis")
    parts = redis_parts if isinstance(redis_parts, dict) else {}
    scheme = "rediss" if parts.get("tls") else "redis"
    broker = f"{scheme}://{in_url(str(parts['host']))}:{parts.get('port', 6379)}/0" if parts.get("host") else None
    step = Step(
        "orchestrator", f"{host} is {body.get('status')}, version {body.get('version', 'unknown')}", 0 if answer.is_success else UNREACHABLE
    )
    return step, reachable_broker(broker, host) if broker else None


def _token(settings: WorkerSettings) -> Step:
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"} if settings.token else {}
    try:
        with web_client(settings.host or "", headers=headers, timeout=TIMEOUT, ca_file=settings.ca_file) as client:
            answer = client.get("/api/tokens/current")
    except FAILURES as error:
        return Step("token", f"{settings.host} does not answer: {error}", UNREACHABLE)
    if answer.status_code in (401, 403):
        return Step("token", f"refused with {answer.status_code}: set FLEETMARK_TOKEN or give --token-file", FAILED)
    if not answer.is_success:
        return Step("token", f"GET /api/tokens/current answered {answer.status_code}", UNREACHABLE)
    try:
        body = _object(answer)
    except ValueError as error:
        return Step("token", f"{settings.host} does not answer as an orchestrator: {error}", UNREACHABLE)
    if body.get("role") not in (Role.WORKER, Role.ADMIN):
        return Step("token", f"its role is {body.get('role')}; a worker needs one with the role worker (fleetmark token create)", FAILED)
    return Step("token", f"accepted: {body['name']}, role {body['role']}" if body.get("name") else "none is needed")


def _object(answer: httpx.Response) -> dict[str, Any]:
    """Return the body of an answer.

    Raises:
        ValueError: It is not a JSON object. The page of a proxy, or another program, may answer with status 200 as well.
    """
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ValueError(  # noqa: TRY004 - the value of another program is wrong, not a type of ours
            f"its answer is no JSON object ({answer.text[:100] or 'nothing'})"
        )
    return body


def _broker(url: str) -> Step:
    address = shown_place(url)
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=CONNECT_S,
        retry=Retry(NoBackoff(), 0),  # redis-py would try four times, with pauses
    )
    try:
        client.ping()
        unfit = next((trouble for trouble in troubles(client) if trouble.stops), None)
    except redis.AuthenticationError:
        return Step("broker", f"{address} answers, and wants the password that registration brings")
    except redis.RedisError as error:
        if (why := refusal(error)) is not None:
            return Step("broker", f"the certificate of {address} is not trusted: {why}; {MEND}", UNREACHABLE)
        return Step("broker", f"{address} does not answer: {error}; open the port to this device, or give --redis-url", UNREACHABLE)
    finally:
        client.close()
    if unfit is not None:
        return Step("broker", f"{address} {unfit.words}: {unfit.mend}", FAILED)
    return Step("broker", f"{address} answers")


def _measurement(supervisor: SupervisorLife) -> Iterator[Step]:
    capabilities = offered(detect())
    if not any(map(takes_models, capabilities)):
        yield Step("measurement", f"no engine for models on this device: {how_to_call('worker validate')}", FAILED)
        return
    supervisor.start()
    try:
        with tempfile.TemporaryDirectory(prefix="fleetmark-test-") as folder:
            for number, capability in enumerate(capabilities, start=1):
                if not takes_models(capability):
                    yield Step(f"measurement on {capability}", "not tried: it takes no model; a recipe of its own kind tries it")
                    continue
                try:
                    path = write_trial_model(capability, Path(folder))
                except Exception as error:  # noqa: BLE001 - an engine of another package may raise anything; the others are still tried
                    yield Step(f"measurement on {capability}", f"its small model cannot be made: {error!r}", FAILED)
                    continue
                if path is None:
                    yield Step(f"measurement on {capability}", "not tried: there is no small model for it on this device")
                    continue
                outcome = supervisor.run(_assignment(path, capability, number), lambda _stage, _progress: None)
                yield _judged(capability, outcome)
    finally:
        supervisor.close()


def _assignment(path: Path, capability: str, number: int) -> Assignment:
    workload = inference_workload(
        model=ModelRef(source=path.as_uri(), name=path.name),
        inferences=20,
        repeats=1,
        warmup=Warmup(min_calls=3, min_s=0.0),
        timeout_s=300.0,
    )
    return Assignment(
        job_id=job_id(TRIAL_CAMPAIGN, number), campaign_id=TRIAL_CAMPAIGN, attempt=1, capability=capability, workload=workload
    )


def _judged(capability: str, outcome: Outcome) -> Step:
    name = f"measurement on {capability}"
    if outcome.status != "complete" or outcome.summary is None:
        return Step(name, outcome.error or outcome.status, FAILED)
    inference = outcome.summary.inference
    return Step(name, f"{inference.n} inferences of a tiny model, median {inference.median * 1000:.1f} µs")
