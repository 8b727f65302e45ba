"""Stores the trace of an event with it and with its deliveries, and lets maintenance measure their lag.

The columns have no default: adding them rewrites no row, and roles of the previous version do not need them.
"""

from alembic import op

from migrations.isolation import DELIVER, MAINTAIN, grant

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and grant them."""
    op.execute("ALTER TABLE outbox ADD COLUMN traceparent text")
    op.execute("ALTER TABLE deliveries ADD COLUMN traceparent text")
    for role in (DELIVER, MAINTAIN):
        grant("INSERT (traceparent)", "outbox", role)
    grant("INSERT (traceparent), SELECT (due_at)", "deliveries", MAINTAIN)
    grant("SELECT (created_at)", "outbox", MAINTAIN)


def downgrade() -> None:
    """Drop the columns and the grants."""
    op.execute("REVOKE SELECT (due_at) ON deliveries FROM vigie_maintain")
    op.execute("REVOKE SELECT (created_at) ON outbox FROM vigie_maintain")
    op.execute("ALTER TABLE deliveries DROP COLUMN traceparent")
    op.execute("ALTER TABLE outbox DROP COLUMN traceparent")
