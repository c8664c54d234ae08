"""Runs the migrations. Alembic executes this file, and `orchestrator.store.schema` passes the connection in."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

import orchestrator.store.tables  # noqa: F401 (registers the tables)

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=SQLModel.metadata, compare_type=True, render_as_batch=connection.dialect.name == "sqlite"
)
with context.begin_transaction():
    context.run_migrations()
