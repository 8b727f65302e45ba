"""Stores the progress and the size limit of subscriptions, and allows their events. Expands."""

from typing import Final

from alembic import op

from migrations.isolation import DELIVER, grant

revision = "0061"
down_revision = "0060"
branch_labels = None
depends_on = None

# searched_position, searched_index, found_count: while a batch is not full, how far the stream was searched,
# and how many items were found. size_limit: the most items that fit the receiver, after a 413.
_COLUMNS: Final = (
    "searched_position bigint",
    "searched_index integer",
    "found_count integer NOT NULL DEFAULT 0",
    "size_limit double precision",
)
_NAMES: Final = ", ".join(column.partition(" ")[0] for column in _COLUMNS)
_NOTICE_TYPES: Final = "type LIKE ANY ('{endpoint.%,subscription.%}')"
_FORMER_NOTICE_TYPES: Final = "type LIKE 'endpoint.%'"
_ALTER: Final = "ALTER POLICY told_by_vigie_deliver ON outbox WITH CHECK"
_LOCK: Final = "LOCK TABLE outbox, measurement_subscriptions IN ACCESS EXCLUSIVE MODE"


def upgrade() -> None:
    """Add the columns, and allow the events."""
    op.execute(_LOCK)
    op.execute(f"{_ALTER} ({_NOTICE_TYPES})")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE measurement_subscriptions ADD COLUMN {column}")
    grant(f"UPDATE ({_NAMES})", "measurement_subscriptions", DELIVER)


def downgrade() -> None:
    """Remove them."""
    op.execute(_LOCK)
    op.execute(f"{_ALTER} ({_FORMER_NOTICE_TYPES})")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE measurement_subscriptions DROP COLUMN {column.partition(' ')[0]}")
