"""Adds the highest severity of alerts, and holds back alerts that are muted while they wait in a group.

- `alerts.highest_severity` is filled from the timelines, which have the severity after each change.
- `group_events.begins`: the row's events include the beginning of the alert. For rows that wait now, it is
  set if the beginning was the last event, or if the row stands for several events.
- `group_events.held`: the row was held back when its group was last sent or checked. A group whose rows are
  all held is `held` too, and is checked again at `due_at`.
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
