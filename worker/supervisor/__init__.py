"""Supervises the measured process: it enforces the deadline, takes the host-wide lock, kills the process and grades the noise."""

from worker.supervisor.outcome import Outcome, Status, Why
from worker.supervisor.supervisor import Supervisor
from worker.supervisor.telemetry import TelemetryOptions

__all__ = ["Outcome", "Status", "Supervisor", "TelemetryOptions", "Why"]
