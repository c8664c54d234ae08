"""Translates between HTTP and the operations, and does nothing else. /docs describes every path, body and status."""

from orchestrator.api.application import make_api

__all__ = ["make_api"]
