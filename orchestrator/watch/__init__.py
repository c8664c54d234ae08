"""The monitor: silent workers, lost attempts, deadlines, messages that vanished. Any number may run; one leads at a time."""

from orchestrator.watch.loop import Watch

__all__ = ["Watch"]
