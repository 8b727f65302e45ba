"""Adds subscriptions to the measurement stream, and the log of their batches: expands.

A subscription sends the items of its organisation to a sink, from its cursor on. `measurement_batches` names
what was sent by the first and the last item of a batch, never by values.

`subscription_sites()` says what the caller that set up a subscription may still read, without giving the
delivery process the tables of keys and people.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import API, DELIVER, MAINTAIN, grant, open_to, organisation_in_reach, protect

revision = "0055"
down_revision = "0054"
branch_labels = None
depends_on = None

_SUBSCRIPTIONS: Final = """
CREATE TABLE measurement_subscriptions (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    name text NOT NULL,
    site_ids uuid[],
    boxes text[],
    metrics text[],
    kinds text[] NOT NULL CHECK (cardinality(kinds) > 0),
    sink text NOT NULL CHECK (sink IN
        ('webhook', 'mqtt', 'kafka', 'nats', 'rabbitmq', 'postgresql', 'influxdb', 'prometheus')),
    format text CHECK (format IN ('json', 'cloudevents', 'senml', 'csv', 'influx')),
    target jsonb NOT NULL,
    credentials text,
    batch_size integer NOT NULL CHECK (batch_size BETWEEN 1 AND 5000),
    max_age text NOT NULL,
    gzip boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
    disabled_reason text,
    disabled_at timestamptz,
    cursor_position bigint NOT NULL,
    cursor_index integer NOT NULL,
    waiting_since timestamptz,
    due_at timestamptz NOT NULL,
    leased_until timestamptz,
    consecutive_failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    noticed_at timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_reason text,
    last_status integer,
    open_until timestamptz,
    slow_step integer NOT NULL DEFAULT 0,
    last_detail text,
    items_sent bigint NOT NULL DEFAULT 0,
    created_by uuid NOT NULL,
    created_by_kind text NOT NULL CHECK (created_by_kind IN ('key', 'user')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
"""
_BATCHES: Final = """
CREATE TABLE measurement_batches (
    id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES measurement_subscriptions ON DELETE CASCADE,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    first_position bigint NOT NULL,
    first_index integer NOT NULL,
    last_position bigint NOT NULL,
    last_index integer NOT NULL,
    item_count integer NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'empty', 'rejected', 'failed')),
    is_replay boolean NOT NULL DEFAULT false,
    is_test boolean NOT NULL DEFAULT false,
    attempt_count integer NOT NULL DEFAULT 0,
    attempts jsonb NOT NULL DEFAULT '[]',
    attempts_left integer,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    delivered_at timestamptz
)
"""
_INDEXES: Final = (
    """
    CREATE INDEX ix_measurement_subscriptions_organisation_id
    ON measurement_subscriptions (organisation_id, id)
    """,
    """
    CREATE INDEX ix_measurement_subscriptions_due_at ON measurement_subscriptions (due_at)
    WHERE state = 'active'
    """,
    """
    CREATE INDEX ix_measurement_batches_subscription_id
    ON measurement_batches (subscription_id, created_at, id)
    """,
    """
    CREATE INDEX ix_measurement_batches_pending ON measurement_batches (subscription_id, created_at, id)
    WHERE state = 'pending'
    """,
    "CREATE INDEX ix_measurement_batches_organisation_id ON measurement_batches (organisation_id)",
)
# The sites that the creator may read: NULL means all of the organisation. No row: the creator may read
# nothing any more. Every role of members may read measurements. The delivery process may not see these
# tables: as in erase_from_incident, the function sets the tenant scope.
_ACCESS: Final = """
CREATE FUNCTION subscription_sites(subscription uuid) RETURNS TABLE (readable_sites uuid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    reach text := coalesce(current_setting('vigie.reach', true), '');
    sites text := coalesce(current_setting('vigie.sites', true), '');
BEGIN
    PERFORM set_config('vigie.reach', 'all', true), set_config('vigie.sites', '', true);
    RETURN QUERY WITH made AS (
        SELECT s.created_by, s.created_by_kind, s.organisation_id, o.parent_id
        FROM measurement_subscriptions s JOIN organisations o ON o.id = s.organisation_id
        WHERE s.id = subscription
    )
    SELECT k.site_ids FROM made JOIN api_keys k ON made.created_by_kind = 'key' AND k.id = made.created_by
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        AND k.scopes && ARRAY['*', 'telemetry:read']
        AND (k.organisation_id IN (made.organisation_id, made.parent_id)
            OR (k.platform AND k.site_ids IS NULL))
    UNION ALL
    (
        SELECT m.site_ids FROM made
        JOIN users u ON made.created_by_kind = 'user' AND u.id = made.created_by AND u.disabled_at IS NULL
        JOIN memberships m ON m.user_id = u.id
        JOIN organisations o ON o.id = m.organisation_id
        WHERE m.organisation_id IN (made.organisation_id, made.parent_id)
            OR (o.platform AND m.site_ids IS NULL)
        ORDER BY m.site_ids IS NULL DESC
        LIMIT 1
    );
    PERFORM set_config('vigie.reach', reach, true), set_config('vigie.sites', sites, true);
END $$
"""
_RECORDED: Final = (
    *("organisation_id", "name", "site_ids", "boxes", "metrics", "kinds", "sink", "format", "batch_size"),
    *("max_age", "gzip", "state", "disabled_reason", "created_by", "created_by_kind"),
    # Those of the delivery process are not recorded: what is left is a rewind.
    *("cursor_position", "cursor_index"),
)
_BY_WORKER: Final = (
    *(
        "state",
        "disabled_reason",
        "disabled_at",
        "cursor_position",
        "cursor_index",
        "waiting_since",
        "due_at",
    ),
    *("leased_until", "consecutive_failures", "failing_since", "noticed_at", "last_success_at"),
    *(
        "last_failure_at",
        "last_reason",
        "last_status",
        "open_until",
        "slow_step",
        "last_detail",
        "items_sent",
    ),
)


def upgrade() -> None:
    """Create the tables and the function."""
    for statement in (_SUBSCRIPTIONS, _BATCHES, *_INDEXES, _ACCESS):
        op.execute(statement)
    for table in ("measurement_subscriptions", "measurement_batches"):
        protect(table, organisation_in_reach())
        grant("SELECT, INSERT, UPDATE, DELETE", table, API)
    # To seal credentials again after a rotation of keys.
    open_to("measurement_subscriptions", (DELIVER, MAINTAIN))
    open_to("measurement_batches", (DELIVER,))
    grant("SELECT (id, credentials), UPDATE (credentials)", "measurement_subscriptions", MAINTAIN)
    grant(f"SELECT, UPDATE ({', '.join(_BY_WORKER)})", "measurement_subscriptions", DELIVER)
    grant("SELECT, INSERT, UPDATE, DELETE", "measurement_batches", DELIVER)
    op.execute("REVOKE ALL ON FUNCTION subscription_sites(uuid) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION subscription_sites(uuid) TO {DELIVER}")
    # A URL or a topic can have a secret in it.
    watch(
        "measurement_subscriptions",
        "measurement_subscription",
        _RECORDED,
        hidden=("target", "credentials"),
    )


def downgrade() -> None:
    """Drop them: nothing is sent any more."""
    unwatch("measurement_subscriptions")
    op.execute("DROP FUNCTION subscription_sites(uuid)")
    op.execute("DROP TABLE measurement_batches")
    op.execute("DROP TABLE measurement_subscriptions")
