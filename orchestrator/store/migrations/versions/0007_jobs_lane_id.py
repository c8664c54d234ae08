"""Adds an index on `jobs.lane_id`, so that deleting the lanes of a campaign does not read the jobs of all campaigns."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_lane_id", "jobs", ["lane_id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_lane_id", "jobs")
