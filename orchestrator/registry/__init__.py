"""Reads and writes what Redis knows: workers, heartbeats, faults, marks of jobs, the watch's data, dead letters and logins."""

from orchestrator.registry.faults import QuarantineRule
from orchestrator.registry.records import WorkerRecord
from orchestrator.registry.workers import Registry

__all__ = ["QuarantineRule", "Registry", "WorkerRecord"]
