"""Takes the reports of workers from the results queue and records them."""

from orchestrator.consumer.loop import ResultsConsumer

__all__ = ["ResultsConsumer"]
