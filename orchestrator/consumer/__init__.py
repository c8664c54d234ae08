"""The way in: what workers report, from the results queue into the store."""

from orchestrator.consumer.loop import ResultsConsumer

__all__ = ["ResultsConsumer"]
