"""An alert keeps its highest severity, and what is muted while it waits in a group is held back there.

`alerts.highest_severity` is filled from the timelines, which have the severity after each change.
`group_events.begins` says that the beginning of its alert is among the events that a row stands for, `held`
that it was held back when its group was last sent or looked at; a group of which all is held is `held` too,
and `due_at` is when it is looked at again. What waits now has its beginning in it if that came last, or if it
stands for several events: of a beginning and an end nothing else is known.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_UP = (
    "ALTER TABLE alerts ADD COLUMN highest_severity text",
    """
    UPDATE alerts AS a SET highest_severity = (
        SELECT given.severity
        FROM (
            SELECT a.severity UNION ALL SELECT t.severity FROM alert_timeline AS t WHERE t.alert_id = a.id
        ) AS given
        ORDER BY array_position(ARRAY['info', 'warning', 'critical'], given.severity) DESC NULLS LAST
        LIMIT 1
    )
    """,
    "ALTER TABLE alerts ALTER COLUMN highest_severity SET NOT NULL",
    """
    ALTER TABLE group_events
        ADD COLUMN begins boolean NOT NULL DEFAULT false,
        ADD COLUMN held boolean NOT NULL DEFAULT false
    """,
    "UPDATE group_events SET begins = true WHERE type = 'alert.firing' OR events_count > 1",
    "ALTER TABLE delivery_groups ADD COLUMN held boolean NOT NULL DEFAULT false",
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE delivery_groups DROP COLUMN held")
    op.execute("ALTER TABLE group_events DROP COLUMN begins, DROP COLUMN held")
    op.execute("ALTER TABLE alerts DROP COLUMN highest_severity")
