"""The way in: takes what workers report from the results queue and has it recorded."""

from orchestrator.consumer.loop import ResultsConsumer

__all__ = ["ResultsConsumer"]
