"""Adds the register's view of the newest open values and the last day, minutes after their measurement."""

from typing import Final

from alembic import op

from migrations.recent_view import DROP_VIEW, make_recent_view

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE samples, boxes IN ACCESS SHARE MODE"


def upgrade() -> None:
    """Create the view of the last day."""
    op.execute(_LOCK)
    make_recent_view()


def downgrade() -> None:
    """Drop the view."""
    op.execute(DROP_VIEW)
