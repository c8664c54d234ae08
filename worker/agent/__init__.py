"""The worker around the measurement: registers, takes jobs through Celery, beats, answers, leaves in order."""

from worker.agent.agent import Agent

__all__ = ["Agent"]
