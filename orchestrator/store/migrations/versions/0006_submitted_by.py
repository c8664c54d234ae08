"""Adds `campaigns.submitted_by`, the name of the token that a campaign was submitted with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("campaigns", sa.Column("submitted_by", sa.String(length=200), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("campaigns", "submitted_by")
