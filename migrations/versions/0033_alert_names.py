"""Adds the names of people who acknowledge alerts, and lets the maintain role read names of sites and boxes.

Before, `alerts` and `alert_timeline` had only the id of a key or person. An index finds an alert's events in
the outbox, for its explanation.
"""

from typing import Final

from alembic import op

from migrations.isolation import MAINTAIN, grant

revision = "0033"
down_revision = "0029"
branch_labels = None
depends_on = None

_COLUMNS: Final = (
    "ALTER TABLE alerts ADD COLUMN acknowledged_by_kind text, ADD COLUMN acknowledged_by_name text",
    "ALTER TABLE alert_timeline ADD COLUMN actor_kind text",
)
# Only people's actions: other entries have no actor.
_KIND: Final = "CASE WHEN EXISTS (SELECT FROM users u WHERE u.id = {}) THEN 'user' ELSE 'key' END"
_FILL: Final = (
    f"UPDATE alert_timeline SET actor_kind = {_KIND.format('actor_key')} WHERE actor_key IS NOT NULL",  # noqa: S608 (constants)
    f"""
    UPDATE alerts a SET acknowledged_by_kind = {_KIND.format("a.acknowledged_by")},
        acknowledged_by_name = (
            SELECT t.actor FROM alert_timeline t
            WHERE t.alert_id = a.id AND t.kind = 'acknowledged' AND t.actor_key = a.acknowledged_by
            ORDER BY t.position DESC LIMIT 1
        )
    WHERE a.acknowledged_by IS NOT NULL
    """,  # noqa: S608 (constants)
)
_INDEX: Final = """
CREATE INDEX ix_outbox_alert_id ON outbox ((payload ->> 'alert_id')) WHERE payload ? 'alert_id'
"""
_NEW: Final = "acknowledged_by_kind, acknowledged_by_name"
_GRANTS: Final = {
    "sites": "SELECT (name)",
    "boxes": "SELECT (name)",
    "alerts": f"INSERT ({_NEW}), UPDATE ({_NEW})",
}


def upgrade() -> None:
    """Add the columns, fill them where the name is known, and grant access to names."""
    for statement in (*_COLUMNS, *_FILL, _INDEX):
        op.execute(statement)
    for table, privileges in _GRANTS.items():
        grant(privileges, table, MAINTAIN)


def downgrade() -> None:
    """Drop the names; the ids remain."""
    op.execute("DROP INDEX ix_outbox_alert_id")
    for table in ("sites", "boxes"):
        op.execute(f"REVOKE SELECT (name) ON {table} FROM {MAINTAIN}")  # noqa: S608 (constants)
    op.execute("ALTER TABLE alert_timeline DROP COLUMN actor_kind")
    op.execute("ALTER TABLE alerts DROP COLUMN acknowledged_by_kind, DROP COLUMN acknowledged_by_name")
