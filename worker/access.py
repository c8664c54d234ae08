"""Says what a worker of each type can see of that which it measures, and so what it may offer and which figures it gives.

white_box   the device and everything on it: models in process, services that the worker starts, telemetry
gray_box    a service by its requests, and the metrics that the service itself tells
black_box   a service by its requests alone
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import EngineUnavailable

SETTING = "FLEETMARK_WORKER_TYPE"


@dataclass(frozen=True)
class Access:
    """Describes one type of worker.

    Attributes:
        places: The beginnings of the capabilities that it may offer. Empty for all.
        starts_services: Whether it may start the service that it puts under load.
        sees_device: Whether it samples the device and its energy beside a measurement.
        sees_metrics: Whether it reads what a service tells of itself, also on a page of metrics (FLEETMARK_WORKER_METRICS_URL).
    """

    name: str
    words: str
    places: tuple[str, ...] = ()
    starts_services: bool = True
    sees_device: bool = True
    sees_metrics: bool = True

    def why_not(self, capability: str) -> str:
        """Return why a worker of this type does not offer a capability, or an empty text if it may."""
        if not self.places or capability.partition(".")[0] in self.places:
            return ""
        return f"this worker is {self.words}, so it only sends requests to services ({SETTING}={self.name})"

    @property
    def hidden(self) -> str:
        """Return why a figure of the device is null, or an empty text if the worker sees the device."""
        return "" if self.sees_device else f"not visible: this worker is {self.words} ({SETTING}={self.name})"

    def metrics(self, *, has_gpu: bool, metrics_url: str | None) -> list[str]:
        """Return what a job on this worker really measures."""
        found = ["latency", "throughput"]
        if self.sees_device:
            found += ["memory_usage", *(["gpu_utilization"] if has_gpu else [])]
        if self.sees_metrics and (metrics_url or not self.sees_device):
            found.append("service_metrics")
        return found

    def check(self, capability: str, *, starts_service: bool) -> None:
        """Check that a worker of this type may do a job. An orchestrator of an earlier version does not know types of workers.

        Raises:
            EngineUnavailable: It may not.
        """
        if why := self.why_not(capability):
            raise EngineUnavailable(f"{capability} is not for this worker: {why}")
        if starts_service and not self.starts_services:
            raise EngineUnavailable(
                f"this worker is {self.words} and starts no service ({SETTING}={self.name}): give the `address` of one that runs, or use a "
                "worker of the type white_box"
            )


WHITE_BOX = Access("white_box", "a white box")
_REMOTE = ("api", "service")
ACCESS: dict[str, Access] = {
    access.name: access
    for access in (
        WHITE_BOX,
        Access("gray_box", "a gray box", _REMOTE, starts_services=False, sees_device=False),
        Access("black_box", "a black box", _REMOTE, starts_services=False, sees_device=False, sees_metrics=False),
    )
}
