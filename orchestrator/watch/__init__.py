"""Watches for silent workers, lost attempts, deadlines and lost messages. Any number may run; one of them leads."""

from orchestrator.watch.loop import Watch

__all__ = ["Watch"]
