"""What Redis knows: workers and heartbeats, marks of jobs, the monitor's memory, dead letters."""

from orchestrator.registry.records import WorkerRecord
from orchestrator.registry.workers import Registry

__all__ = ["Registry", "WorkerRecord"]
