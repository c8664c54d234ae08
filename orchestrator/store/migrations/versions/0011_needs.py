"""Adds to each lane what the work of its jobs needs of a device, beside what the recipe requires."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import Json

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lanes", sa.Column("needs", Json, nullable=True))


def downgrade() -> None:
    op.drop_column("lanes", "needs")
