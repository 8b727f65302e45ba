"""Lets the maintenance role read the failures of endpoints.

It counts the endpoints that are open, slowed or disabled for the metrics. Since migration 0019 it could not
read two of the columns, so that the count failed.
"""

from alembic import op

from migrations.isolation import MAINTAIN, grant

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grant the two columns."""
    grant("SELECT (consecutive_failures, last_status)", "endpoint_states", MAINTAIN)


def downgrade() -> None:
    """Revoke the two columns."""
    op.execute("REVOKE SELECT (consecutive_failures, last_status) ON endpoint_states FROM vigie_maintain")
