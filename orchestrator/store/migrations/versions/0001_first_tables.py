"""Makes the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("model_url", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("recipe", Json, nullable=False),
        sa.Column("recipe_hash", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("warnings", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("queue_deadline_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("reported_at", UtcDateTime(), nullable=True),
        sa.Column("total_jobs", sa.Integer(), nullable=False),
        sa.Column("pending_jobs", sa.Integer(), nullable=False),
        sa.Column("running_jobs", sa.Integer(), nullable=False),
        sa.Column("complete_jobs", sa.Integer(), nullable=False),
        sa.Column("failed_jobs", sa.Integer(), nullable=False),
        sa.Column("cancelled_jobs", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'cancelled')",
            name=op.f("ck_campaigns_status"),
        ),
        sa.CheckConstraint(
            "pending_jobs + running_jobs + complete_jobs + failed_jobs + cancelled_jobs = total_jobs", name=op.f("ck_campaigns_counters")
        ),
        sa.CheckConstraint("pending_jobs >= 0 AND running_jobs >= 0", name=op.f("ck_campaigns_no_negative_counters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_campaigns_idempotency_key")),
    )
    op.create_index(
        "ix_campaigns_running",
        "campaigns",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    op.create_index("ix_campaigns_status_id", "campaigns", ["status", "id"], unique=False)
    op.create_index(
        "ix_campaigns_unreported",
        "campaigns",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status <> 'running' AND reported_at IS NULL"),
        sqlite_where=sa.text("status <> 'running' AND reported_at IS NULL"),
    )
    op.create_table(
        "models",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_models")),
    )
    op.create_table(
        "lanes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.String(length=40), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("compute_unit", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=True),
        sa.Column("requires", Json, nullable=False),
        sa.Column("waiting_for", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_lanes_campaign_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lanes")),
    )
    op.create_index("ix_lanes_campaign_id", "lanes", ["campaign_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("campaign_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("lane_id", sa.Integer(), nullable=False),
        sa.Column("compute_unit", sa.String(length=64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("workload", Json, nullable=False),
        sa.Column("model_name", sa.String(length=255), nullable=False),
        sa.Column("retry_of", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("dispatched_at", UtcDateTime(), nullable=True),
        sa.Column("queue", sa.String(length=128), nullable=True),
        sa.Column("capability", sa.String(length=64), nullable=True),
        sa.Column("worker_id", sa.String(length=80), nullable=True),
        sa.Column("incarnation", sa.String(length=64), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("deadline_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("error_kind", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'complete', 'failed', 'cancelled')",
            name=op.f("ck_jobs_status"),
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_jobs_attempt")),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_jobs_campaign_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["lane_id"], ["lanes.id"], name=op.f("fk_jobs_lane_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("campaign_id", "number", name=op.f("uq_jobs_campaign_id_number")),
    )
    op.create_index(
        "ix_jobs_dispatched",
        "jobs",
        ["queue", "dispatched_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND dispatched_at IS NOT NULL"),
        sqlite_where=sa.text("status = 'pending' AND dispatched_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_frontier",
        "jobs",
        ["lane_id", "number"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND dispatched_at IS NULL"),
        sqlite_where=sa.text("status = 'pending' AND dispatched_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_running",
        "jobs",
        ["worker_id"],
        unique=False,
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    op.create_index("ix_jobs_status_campaign_id_number", "jobs", ["status", "campaign_id", "number"], unique=False)
    op.create_index(
        "ix_jobs_worker_id_campaign_id_number",
        "jobs",
        ["worker_id", "campaign_id", "number"],
        unique=False,
        postgresql_where=sa.text("worker_id IS NOT NULL"),
        sqlite_where=sa.text("worker_id IS NOT NULL"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("worker_id", sa.String(length=80), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_events_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_job_id_id", "events", ["job_id", "id"], unique=False)
    op.create_table(
        "results",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("campaign_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker_id", sa.String(length=80), nullable=False),
        sa.Column("row", Json, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("result", Json, nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_results_campaign_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_results_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_results")),
        sa.UniqueConstraint("campaign_id", "number", name=op.f("uq_results_campaign_id_number")),
    )


def downgrade() -> None:
    op.drop_table("results")
    op.drop_index("ix_events_job_id_id", table_name="events")
    op.drop_table("events")
    op.drop_index("ix_jobs_worker_id_campaign_id_number", table_name="jobs")
    op.drop_index("ix_jobs_status_campaign_id_number", table_name="jobs")
    op.drop_index(
        "ix_jobs_running", table_name="jobs", postgresql_where=sa.text("status = 'running'"), sqlite_where=sa.text("status = 'running'")
    )
    op.drop_index(
        "ix_jobs_frontier",
        table_name="jobs",
        postgresql_where=sa.text("status = 'pending' AND dispatched_at IS NULL"),
        sqlite_where=sa.text("status = 'pending' AND dispatched_at IS NULL"),
    )
    op.drop_index(
        "ix_jobs_dispatched",
        table_name="jobs",
        postgresql_where=sa.text("status = 'pending' AND dispatched_at IS NOT NULL"),
        sqlite_where=sa.text("status = 'pending' AND dispatched_at IS NOT NULL"),
    )
    op.drop_table("jobs")
    op.drop_index("ix_lanes_campaign_id", table_name="lanes")
    op.drop_table("lanes")
    op.drop_table("models")
    op.drop_index(
        "ix_campaigns_unreported",
        table_name="campaigns",
        postgresql_where=sa.text("status <> 'running' AND reported_at IS NULL"),
        sqlite_where=sa.text("status <> 'running' AND reported_at IS NULL"),
    )
    op.drop_index("ix_campaigns_status_id", table_name="campaigns")
    op.drop_index(
        "ix_campaigns_running",
        table_name="campaigns",
        postgresql_where=sa.text("status = 'running'"),
        sqlite_where=sa.text("status = 'running'"),
    )
    op.drop_table("campaigns")
