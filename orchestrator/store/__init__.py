"""The store: tables, every query, migrations. PostgreSQL, or SQLite as the embedded default."""

from orchestrator.store.database import Store

__all__ = ["Store"]
