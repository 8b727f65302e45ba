"""Drops the index of pending deliveries by their due time.

No query needs it: claims read each endpoint's first due deliveries by `ix_deliveries_endpoint_id_due`. While
few deliveries are pending, both indexes look equally cheap to the planner. When a backlog then grew, claims
read it whole until the next ANALYZE: 400 ms each with 20,000 pending deliveries, against 5 ms.
"""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX ix_deliveries_due")


def downgrade() -> None:
    """Create it again."""
    op.execute("CREATE INDEX ix_deliveries_due ON deliveries (due_at) WHERE state = 'pending'")
