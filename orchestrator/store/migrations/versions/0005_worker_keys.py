"""Adds the table of the keys that workers sign their reports with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_keys",
        sa.Column("worker_id", sa.String(length=80), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("token_id", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("pk_worker_keys")),
    )


def downgrade() -> None:
    op.drop_table("worker_keys")
