"""Adds to each job the message that it was sent in together with other jobs, which take turns with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("block", sa.String(length=80), nullable=True))
    op.add_column("jobs", sa.Column("block_timeout_s", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "block_timeout_s")
    op.drop_column("jobs", "block")
