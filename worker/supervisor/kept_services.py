"""Keeps the server of a campaign between two of its jobs (`service.fresh: campaign`). A worker keeps one server at most.

It ends when a job fails or is cancelled, when a job of another campaign begins, when no job has used it for `IDLE_S`, when a user stops it,
and with the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock, Thread, Timer

from worker.launchers.base import Server
from worker.launchers.running import RunningServices

IDLE_S = 60.0  # jobs of one campaign follow each other within seconds


@dataclass(frozen=True)
class CampaignServer:
    """Describes a server that may serve the next job of its campaign.

    Attributes:
        campaign_id: Whose it is.
        asked: The service, the launcher and all settings that it was started with, as text.
        connections: For how many connections it was started.
        id: Its id among the running services.
    """

    campaign_id: str
    asked: str
    connections: int
    id: str
    port: int
    server: Server


class KeptServices:
    """Holds the server between jobs. It may be used from several threads."""

    def __init__(self, running: RunningServices, idle_s: float = IDLE_S) -> None:
        self._running, self._idle_s = running, idle_s
        self._lock = Lock()
        self._kept: CampaignServer | None = None
        self._timer: Timer | None = None
        self._former: dict[str, Server] = {}  # the ids under which the server of the campaign was idle before, and that server
        self._unwanted: Server | None = None  # a user has stopped it while it was idle, and a job had just taken it
        self._ender: Thread | None = None  # ends a server that a user has stopped

    def keep(self, server: CampaignServer) -> None:
        """Keep a server, and end it if nobody takes it in time. A server that a user has stopped is ended at once."""
        self.close()
        with self._lock:
            unwanted = server.server is self._unwanted
            self._former = {name: one for name, one in self._former.items() if one is server.server}
        if unwanted:
            self._end(server)
            return
        self._running.change(server.id, "idle")
        with self._lock:
            self._kept = server
            self._timer = Timer(self._idle_s, self._end_if, [server])
            self._timer.daemon = True
            self._timer.start()

    def take(self, campaign_id: str, asked: str, connections: int) -> CampaignServer | None:
        """Return the kept server if it is what a job needs, and still runs. A server that is not is ended."""
        found = self._taken()
        if found is None:
            self._wait_for_end()
            return None
        same = found.campaign_id == campaign_id and found.asked == asked and found.connections >= connections
        if same and found.server.alive:
            with self._lock:
                self._former[found.id] = found.server
            self._running.change(found.id, "healthy")
            return found
        self._end(found)
        return None

    def end_of_others(self, campaign_id: str) -> None:
        """End the kept server if it belongs to another campaign."""
        with self._lock:
            others = self._kept is not None and self._kept.campaign_id != campaign_id
        if others:
            self.close()

    def stop(self, service_id: str) -> None:
        """End the server that is idle under this id. This does not wait for its end.

        If a job has taken it in the meantime, it ends after this job.
        """
        with self._lock:
            found = self._kept
            if found is None or found.id != service_id:
                self._unwanted = self._former.get(service_id, self._unwanted)
                return
            self._forget()
            self._ender = Thread(target=self._end, args=[found], name="end-service", daemon=True)
            self._ender.start()

    def close(self) -> None:
        """End the kept server, if there is one."""
        if (found := self._taken()) is not None:
            self._end(found)
        self._wait_for_end()

    def _taken(self) -> CampaignServer | None:
        with self._lock:
            found = self._kept
            self._forget()
            return found

    def _forget(self) -> None:
        self._kept = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_end(self) -> None:
        """Wait until the server that a user has stopped has ended: the next one may need its port."""
        if (ender := self._ender) is not None:
            ender.join()
            self._ender = None

    def _end_if(self, server: CampaignServer) -> None:
        with self._lock:
            if self._kept is not server:
                return
            self._kept = None
        self._end(server)

    def _end(self, server: CampaignServer) -> None:
        server.server.stop()
        self._running.remove(server.id)
