"""Holds the store: tables, queries and migrations. It uses PostgreSQL, or SQLite as the embedded default."""

from orchestrator.store.database import Store

__all__ = ["Store"]
