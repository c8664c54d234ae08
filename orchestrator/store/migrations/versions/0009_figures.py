"""Adds the table `figures`, with one row for each figure of each complete job.

The rows of results that earlier versions recorded are not made here, because reading a million results would keep the system down for
minutes. `figures_due` marks their campaigns, and the orchestrator makes the rows while it runs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_DUE = sa.text("figures_due")


def upgrade() -> None:
    op.create_table(
        "figures",
        sa.Column("campaign_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("unit", sa.String(length=40), nullable=False),
        sa.Column("better", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", "name", name=op.f("pk_figures")),
    )
    op.create_index("ix_figures_name_created_at", "figures", ["name", "created_at", "campaign_id", "number"])
    op.create_index("ix_figures_name_value", "figures", ["name", "value", "campaign_id", "number"])
    op.create_index("ix_figures_campaign_id_name_value", "figures", ["campaign_id", "name", "value", "number"])
    op.add_column("campaigns", sa.Column("figures_due", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute("UPDATE campaigns SET figures_due = true")
    op.create_index("ix_campaigns_figures_due", "campaigns", ["id"], postgresql_where=_DUE, sqlite_where=_DUE)


def downgrade() -> None:
    op.drop_index("ix_campaigns_figures_due", "campaigns")
    op.drop_column("campaigns", "figures_due")
    op.drop_table("figures")
