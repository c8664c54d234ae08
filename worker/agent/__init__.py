"""Contains everything around the measurement: registration, taking jobs through Celery, heartbeats, answers, and an orderly stop."""

from worker.agent.agent import Agent

__all__ = ["Agent"]
