"""Stores the outbox position of a delivery's event, which orders the deliveries of an alert. Expands.

Ids contain the clock of the process that made them. With two delivery processes whose clocks differ, the end
of an alert could have the lower id, and was sent before its beginning.

The column has no default: adding it rewrites no row. Deliveries without a position are earlier than others.
`ix_deliveries_alert_id` still finds the few pending deliveries of an alert, among which the position decides.
"""

from alembic import op

from migrations.isolation import MAINTAIN, grant

revision = "0064"
down_revision = "0063"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and grant it."""
    op.execute("ALTER TABLE deliveries ADD COLUMN position bigint")
    grant("INSERT (position)", "deliveries", MAINTAIN)


def downgrade() -> None:
    """Drop the column and its grants."""
    op.execute("ALTER TABLE deliveries DROP COLUMN position")
