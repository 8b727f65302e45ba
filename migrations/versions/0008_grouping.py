"""Adds the grouping of notifications by endpoint.

An endpoint may group events of alerts (`webhook_endpoints.grouping`). `delivery_groups` has a row per
endpoint and key, and `group_events` a row per alert with its latest event. The row of a sent group remains
for a while without events: it has the time until which the next notification of its key must wait.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_UP = (
    "ALTER TABLE webhook_endpoints ADD COLUMN grouping jsonb",
    """
    CREATE TABLE delivery_groups (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
        key text NOT NULL,
        due_at timestamptz,
        idle_until timestamptz,
        created_at timestamptz NOT NULL,
        UNIQUE (endpoint_id, key),
        CHECK (due_at IS NOT NULL OR idle_until IS NOT NULL)
    )
    """,
    "CREATE INDEX ix_delivery_groups_due ON delivery_groups (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX ix_delivery_groups_idle ON delivery_groups (idle_until) WHERE due_at IS NULL",
    """
    CREATE TABLE group_events (
        group_id uuid NOT NULL REFERENCES delivery_groups ON DELETE CASCADE,
        alert_id uuid NOT NULL,
        position bigint NOT NULL,
        events_count integer NOT NULL,
        sequence bigint NOT NULL,
        firing boolean NOT NULL,
        event_id uuid NOT NULL,
        type text NOT NULL,
        body bytea NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (group_id, alert_id)
    )
    """,
)
# The older program sends the waiting events of groups one by one, so that none is lost.
_RELEASE = """
INSERT INTO deliveries
    (id, organisation_id, endpoint_id, event_id, type, body, state, attempt_count, due_at, created_at)
SELECT gen_random_uuid(), g.organisation_id, g.endpoint_id, e.event_id, e.type, e.body, 'pending', 0, now(),
    e.created_at
FROM group_events AS e JOIN delivery_groups AS g ON g.id = e.group_id
ON CONFLICT (endpoint_id, event_id) DO NOTHING
"""


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    op.execute(_RELEASE)
    op.execute("DROP TABLE group_events")
    op.execute("DROP TABLE delivery_groups")
    op.execute("ALTER TABLE webhook_endpoints DROP COLUMN grouping")
