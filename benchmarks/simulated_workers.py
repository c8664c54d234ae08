"""Simulates many workers in one process. They use the same scripts and messages as real workers, but have no engine.

    python -m benchmarks.simulated_workers --redis-url redis://127.0.0.1:6379/0 --workers 900 --capability gpu.cuda.onnx

Each worker registers, sends heartbeats, and blocks on its queues over its own connection. It claims a job, reports the start, waits
`--job-s`, reports a result of realistic size and reads the answers. As in a real worker, a heartbeat is also sent at each change of status,
and names the results that are not answered yet; without that, the watch would take their jobs for lost. A real worker does one thing more:
kombu records each message in `unacked`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import resource
import signal
from collections import deque
from functools import cache
from typing import Any, cast

import hiredis
from redis.connection import parse_url

from orchestrator.dispatch.depths import SEPARATOR
from shared.capabilities import RESULTS_QUEUE, worker_queue
from shared.celery_app import PRIORITY_STEPS
from shared.ids import campaign_of, new_incarnation, worker_id_of
from shared.protocol import keys, scripts
from shared.protocol.messages import answer_field
from shared.workers import DeviceInfo, Registration
from tests.integration.reports import result, started

POLL_S = 2.0  # interval for reading answers, as in the real outbox
TEMPLATE = "campaign-000000000000000000-job-1"  # replaced by text substitution, because building 10 000 reports would measure pydantic
TIMEOUT_MS = 60_000
_MORE = object()  # the reader returns this when an answer is not complete yet


class Connection(asyncio.Protocol):
    """Sends commands to Redis and reads the answers, which come in the order of the commands.

    It does what a client library does for a few commands, with a tenth of the processor time: the simulated workers share the machine
    with the control plane that is measured. All commands of one turn of the event loop are written at once.
    """

    def __init__(self) -> None:
        self._reader = hiredis.Reader(encoding="utf-8", notEnoughData=_MORE)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls, url: str) -> Connection:
        where = parse_url(url)  # type: ignore[no-untyped-call]
        _, made = await asyncio.get_running_loop().create_connection(cls, where["host"], where["port"])
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not _MORE:
            waiting = self._waiting.popleft()
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"Redis has closed the connection: {exc}"))

    def ask(self, *words: str | int) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if not self._out:
            loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(cast("Any", words)))
        self._waiting.append(loop.create_future())
        return self._waiting[-1]

    def _flush(self) -> None:
        assert self._transport is not None, "a command needs a connection"
        self._transport.write(b"".join(self._out))
        self._out.clear()


class SimulatedWorker:
    """Simulates one device. Workers share a connection for short commands. Each waits for jobs over a connection of its own."""

    def __init__(self, number: int, options: argparse.Namespace, broker: Connection, queue: Connection) -> None:
        self.udid = f"{options.prefix}-{number}"
        self.id = worker_id_of(self.udid)
        self.incarnation = new_incarnation()
        self._options, self._broker, self._queue = options, broker, queue
        self._held: list[tuple[str, int]] = []
        self._unanswered: dict[str, tuple[str, int]] = {}
        self._changed = asyncio.Event()
        queues = [worker_queue(self.id), options.capability]
        self._lists = [f"{queue}{SEPARATOR}{step}" if step else queue for step in PRIORITY_STEPS for queue in queues]
        who = {"worker_id": self.id, "incarnation": self.incarnation}
        self._started = started(TEMPLATE).model_copy(update=who).model_dump_json()
        self._result = result(TEMPLATE, worker_id=self.id).model_copy(update=who | {"capability": options.capability}).model_dump_json()

    async def _script(self, script: str, *arguments: str | int) -> Any:
        return await self._broker.ask("EVALSHA", _sha(script), 0, *arguments)

    async def register(self) -> None:
        registration = Registration(
            device_name=self.udid,
            capabilities=[self._options.capability],
            device_info=DeviceInfo(UDID=self.udid),
            incarnation=self.incarnation,
        )
        await self._script(scripts.REGISTER, self.id, self.udid, registration.model_dump_json(), self.incarnation, TIMEOUT_MS)

    async def beat_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            status, job = ("busy", self._held[0][0]) if self._held else ("active", "")
            held = json.dumps([*self._held, *self._unanswered.values()])
            await self._script(scripts.HEARTBEAT, self.id, self.incarnation, status, job, held, "", "", "")
            timer = loop.call_later(self._options.heartbeat_s, self._changed.set)
            await self._changed.wait()
            timer.cancel()

    async def work_on(self) -> None:
        while True:
            taken = await self._queue.ask("BRPOP", *self._lists, 5)
            if taken is not None:
                envelope = json.loads(taken[1])
                await self._run(json.loads(base64.b64decode(envelope["body"]))[0][0])

    async def _run(self, assignment: dict[str, Any]) -> None:
        job_id, attempt = assignment["job_id"], assignment["attempt"]
        self._held.append((job_id, attempt))
        self._changed.set()
        verdict = await self._script(scripts.CLAIM, job_id, attempt, self.id, self.incarnation, TIMEOUT_MS, 3_600)
        if verdict == "claimed":
            await self._report(self._started, job_id, attempt)
            await asyncio.sleep(self._options.job_s)
            self._unanswered[answer_field(job_id, attempt)] = (job_id, attempt)
            await self._report(self._result, job_id, attempt)
        self._held.clear()
        self._changed.set()

    async def _report(self, template: str, job_id: str, attempt: int) -> None:
        body = template.replace(TEMPLATE, job_id).replace(campaign_of(TEMPLATE), campaign_of(job_id))
        body = body.replace('"attempt":1', f'"attempt":{attempt}', 1)
        envelope = {"body": base64.b64encode(body.encode()).decode(), "properties": {"body_encoding": "base64"}}
        await self._broker.ask("LPUSH", RESULTS_QUEUE, json.dumps(envelope))

    async def read_answers(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if self._unanswered:
                answers = (await self._broker.ask("HGETALL", keys.answers(self.id)))[::2]
                if answers:
                    await self._broker.ask("HDEL", keys.answers(self.id), *answers)
                    for answer in answers:
                        self._unanswered.pop(answer, None)


async def _main(options: argparse.Namespace) -> None:
    broker = await Connection.open(options.redis_url)
    for script in (scripts.REGISTER, scripts.HEARTBEAT, scripts.CLAIM):
        await broker.ask("SCRIPT", "LOAD", script)
    workers = [SimulatedWorker(number, options, broker, await Connection.open(options.redis_url)) for number in range(options.workers)]
    for worker in workers:
        await worker.register()
    print("registered", flush=True)
    tasks = [asyncio.create_task(loop()) for worker in workers for loop in (worker.beat_on, worker.work_on, worker.read_answers)]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {waiting}:
        try:
            task.result()
        except (OSError, hiredis.HiredisError) as error:
            raise SystemExit(f"a simulated worker lost Redis: {error}") from error


@cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="workers without an engine")
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--capability", required=True)
    parser.add_argument("--prefix", default="simulated", help="of the devices' names")
    parser.add_argument("--heartbeat-s", type=float, default=2.0)
    parser.add_argument("--job-s", type=float, default=0.2)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * options.workers + 256)), hard))
    asyncio.run(_main(options))


if __name__ == "__main__":
    main()
