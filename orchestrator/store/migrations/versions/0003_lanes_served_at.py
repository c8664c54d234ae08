"""When a lane was last served: the queue timeout stands still while a worker that could take its jobs is at work"""

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
