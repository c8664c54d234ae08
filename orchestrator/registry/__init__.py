"""What Redis knows: workers and heartbeats, faults of devices, marks of jobs, the monitor's memory, dead letters, logins."""

from orchestrator.registry.faults import QuarantineRule
from orchestrator.registry.records import WorkerRecord
from orchestrator.registry.workers import Registry

__all__ = ["QuarantineRule", "Registry", "WorkerRecord"]
