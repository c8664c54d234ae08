"""Adds `lanes.served_at`. The queue timeout of a lane pauses while a worker that could take its jobs is busy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lanes", sa.Column("served_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("lanes", "served_at")
