"""Is one client process: `python -m worker.load.client`, started and told what to do by `worker.load.clients`.

It reads commands as lines of JSON from stdin, and answers each with one line of JSON on stdout:

    {"do": "plan", "plan": {…}}                       -> {"driver": {…}}, once the driver is made
    {"do": "prepare"}                                 -> {"prepared": {…}}
    {"do": "ready", "phase": 0}                       -> {"opened": 8}, once every connection is open
    {"do": "run", "phase": 0, "begin_ns": 1234}       -> {"count": 1000, …}, once the phase has ended
    {"do": "count"}                                   -> {"counted": {…}}, what the service has counted itself; null if it does not tell
    {"do": "stop"}                                    -> no answer of its own: the phase that runs ends early, and answers
    {"do": "findings"}                                -> {"findings": {…}}, once the answers were compared with known ones
    {"do": "clean"}                                   -> {}
    end of stdin                                      -> the process ends, in the middle of a phase too

An answer with `error_kind` and `error` says why a command could not be carried out; the process ends after it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from shared.errors import EngineUnavailable, JobError
from shared.masking import without_logins
from worker.drivers.base import Work
from worker.drivers.registry import DRIVERS, resolve
from worker.load.dispatcher import Dispatcher
from worker.load.open_files import allow_open_files
from worker.load.plan import ClientPlan
from worker.load.spool import Spool

if TYPE_CHECKING:
    from worker.drivers.base import Counter, Driver, Keeper, Lane, Searcher

OPEN_AT_ONCE = 32  # connections; more at the same moment would overflow the server's queue of new ones


class Client:
    """Carries out the commands of one client process."""

    def __init__(self, plan: ClientPlan) -> None:
        self._plan = plan
        self._driver: Driver = resolve(plan.driver)(Work(plan.address, plan.settings, plan.seed, plan.client, plan.clients, plan.secrets))
        self._lanes: list[Lane] = []
        self._waiting: Dispatcher | None = None
        self._spool: Spool | None = None
        self._place = without_logins(plan.address)
        self._records = Path()
        self._keeper = cast("Keeper", self._driver) if DRIVERS[plan.driver].keeps else None
        self._searcher = cast("Searcher", self._driver) if DRIVERS[plan.driver].searches else None

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command and return the answer."""
        if command["do"] == "prepare":
            return {"prepared": await self._reached(self._driver.prepare())}
        if command["do"] == "ready":
            return await self._ready(command["phase"])
        if command["do"] == "run":
            return await self._run(command["begin_ns"])
        if command["do"] == "count":
            return await self._counted()
        if command["do"] == "findings":
            return {"findings": self._searcher.findings() if self._searcher is not None else {}}
        await self._reached(self._driver.clean())
        return {}

    async def _counted(self) -> dict[str, Any]:
        """Return what the service has counted itself. One that does not tell costs those figures, and not this process."""
        try:
            return {"counted": await self._reached(cast("Counter", self._driver).counted())}
        except JobError:
            return {"counted": None}

    def stop(self) -> None:
        """End the phase that runs, if one does."""
        if self._waiting is not None:
            self._waiting.stop()

    def facts(self) -> dict[str, Any]:
        return {"operations": list(self._driver.operations), "wire": self._driver.wire, **self._driver.facts()}

    async def _ready(self, number: int) -> dict[str, Any]:
        phase = self._plan.phases[number]
        if self._searcher is not None:
            await self._reached(self._searcher.make_ready(phase.name))
        self._driver.begin(phase.operations, f"{self._plan.seed}/{phase.name}")
        self._records = Path(self._plan.folder) / self._plan.spool_name(number)
        self._spool = Spool(self._records)
        if self._keeper is not None:
            self._keeper.keep(self._records)
        self._waiting = Dispatcher(self._plan, phase, self._driver, self._spool, self._lanes)
        allow_open_files(self._plan.concurrent)
        while (missing := self._plan.concurrent - len(self._lanes)) > 0:
            opening = (self._driver.open(self._waiting) for _ in range(min(missing, OPEN_AT_ONCE)))
            self._lanes.extend(await self._reached(asyncio.wait_for(asyncio.gather(*opening), self._plan.timeout_s)))
        return {"opened": self._driver.opened}

    async def _run(self, begin_ns: int) -> dict[str, Any]:
        dispatcher, spool = self._waiting, self._spool
        assert dispatcher is not None
        assert spool is not None
        gc.collect()
        gc.freeze()
        gc.disable()  # what is made for a request has no cycles
        cpu = time.process_time_ns()
        try:
            await dispatcher.run(begin_ns)
        finally:
            cpu = time.process_time_ns() - cpu
            gc.enable()
            gc.unfreeze()
            spool.close()
        settling = time.process_time_ns()
        if self._keeper is not None:
            self._keeper.settle(self._records)
        return {
            "count": spool.count,
            "opened": self._driver.opened,
            "lost": dispatcher.lost,
            "said": self._driver.said[:500],
            "gave_up": dispatcher.gave_up,
            "stopped_ns": dispatcher.stopped_ns,
            "cpu_ns": cpu,
            "settle_cpu_ns": time.process_time_ns() - settling,
        }

    async def _reached(self, work: Any) -> Any:
        """Wait for something that needs the service, and turn the errors of connections into a reason for people."""
        try:
            return await work
        except TimeoutError as error:
            raise EngineUnavailable(f"the service at {self._place} accepts connections and does not answer") from error
        except OSError as error:
            raise EngineUnavailable(f"the service cannot be reached at {self._place}: {error}") from error


async def _commands() -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve() -> None:
    reader = await _commands()
    client: Client | None = None
    line = await reader.readline()
    while line:
        command = json.loads(line)
        if command["do"] == "stop":  # the phase had already ended
            line = await reader.readline()
            continue
        following = asyncio.ensure_future(reader.readline())
        try:
            if command["do"] == "plan":
                client = Client(ClientPlan.from_json(command["plan"]))
                answer = client.facts() | {"loop": type(asyncio.get_running_loop()).__module__.partition(".")[0]}
            else:
                assert client is not None
                working = asyncio.ensure_future(client.do(command))
                done, _ = await asyncio.wait({working, following}, return_when=asyncio.FIRST_COMPLETED)
                while working not in done and following.done():
                    if not (line := following.result()):
                        os._exit(0)  # whoever started us is gone: nobody reads what is measured
                    if json.loads(line)["do"] != "stop":
                        break  # it is carried out later
                    client.stop()
                    following = asyncio.ensure_future(reader.readline())
                    done, _ = await asyncio.wait({working, following}, return_when=asyncio.FIRST_COMPLETED)
                answer = await working
        except JobError as error:
            sys.stdout.write(json.dumps({"error_kind": error.kind, "error": error.detail}) + "\n")
            sys.stdout.flush()
            os._exit(1)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        line = await following
    os._exit(0)  # connections are closed by the kernel; closing 10 000 of them in Python takes seconds


def main(_arguments: list[str]) -> None:
    """Serve until stdin ends, on uvloop where it is installed."""
    if find_spec("uvloop") is not None and platform.system() != "Windows":
        import uvloop

        uvloop.run(_serve())
    else:
        asyncio.run(_serve())


if __name__ == "__main__":
    main(sys.argv[1:])
