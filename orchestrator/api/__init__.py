"""HTTP to operations and back, nothing else. Every path, body and status is described at /docs."""

from orchestrator.api.application import make_api

__all__ = ["make_api"]
