"""The supervisor of the measured process: it owns the deadline, the host-wide lock, the kill and the verdict on noise."""

from worker.supervisor.outcome import Outcome, Status, Why
from worker.supervisor.supervisor import Supervisor

__all__ = ["Outcome", "Status", "Supervisor", "Why"]
