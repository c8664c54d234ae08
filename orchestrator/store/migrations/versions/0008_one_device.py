"""Adds the choice of one device for a lane (`devices: one`), and the order in which the jobs of a campaign are sent.

Jobs that have not ended keep the order that they had, by their numbers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_FRONTIER = sa.text("status = 'pending' AND dispatched_at IS NULL")
_UNCHOSEN = sa.text("one_device AND device IS NULL")


def upgrade() -> None:
    op.add_column("lanes", sa.Column("one_device", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("lanes", sa.Column("device_name", sa.String(length=200), nullable=True))
    op.create_index("ix_lanes_unchosen", "lanes", ["campaign_id"], postgresql_where=_UNCHOSEN, sqlite_where=_UNCHOSEN)
    op.add_column("jobs", sa.Column("position", sa.Integer(), nullable=True))
    op.execute("UPDATE jobs SET position = number WHERE status IN ('pending', 'running')")
    op.drop_index("ix_jobs_frontier", table_name="jobs")
    op.create_index("ix_jobs_frontier", "jobs", ["lane_id", "position"], postgresql_where=_FRONTIER, sqlite_where=_FRONTIER)


def downgrade() -> None:
    op.drop_index("ix_jobs_frontier", table_name="jobs")
    op.create_index("ix_jobs_frontier", "jobs", ["lane_id", "number"], postgresql_where=_FRONTIER, sqlite_where=_FRONTIER)
    op.drop_column("jobs", "position")
    op.drop_index("ix_lanes_unchosen", table_name="lanes")
    op.drop_column("lanes", "device_name")
    op.drop_column("lanes", "one_device")
