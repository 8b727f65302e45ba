"""Adds e-mail and MQTT channels, states of endpoints, a delivery log with replays, and the event stream.

- `webhook_endpoints` has channels too (`kind`), with their destination in `target`.
- Secrets are sealed: `maintain`, which has the key, seals those that are in plain text now.
- `endpoint_states` has the outcome of an endpoint's attempts; the first attempt inserts the row.
- `deliveries` and `delivery_attempts` get the columns by which their lists are filtered.
- `outbox.stream_position` orders events in streams. The fan-out assigns it, one process at a time, so that no
  lower position appears later.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# All tables are locked at the start, in the order of the fan-out, which may be running. If a process does not
# release its locks within the lock timeout, the migration fails before it changes anything.
_LOCK = "LOCK TABLE outbox, webhook_endpoints, deliveries, delivery_attempts IN ACCESS EXCLUSIVE MODE"
_UP = (
    _LOCK,
    """
    ALTER TABLE webhook_endpoints
        ADD COLUMN kind text NOT NULL DEFAULT 'webhook',
        ADD COLUMN format text NOT NULL DEFAULT 'native',
        ADD COLUMN target jsonb,
        ADD COLUMN min_severity text,
        ADD COLUMN headers text,
        ADD COLUMN former_secrets jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN rate_per_s double precision,
        ADD COLUMN concurrency integer,
        ADD COLUMN disabled_reason text,
        ADD COLUMN disabled_at timestamptz,
        ALTER COLUMN url DROP NOT NULL,
        ALTER COLUMN secret DROP NOT NULL,
        ADD CONSTRAINT ck_webhook_endpoints_kind CHECK (kind IN ('webhook', 'email', 'mqtt')),
        ADD CONSTRAINT ck_webhook_endpoints_format
            CHECK (format IN ('native', 'cloudevents', 'alertmanager')),
        ADD CONSTRAINT ck_webhook_endpoints_min_severity
            CHECK (min_severity IN ('info', 'warning', 'critical')),
        ADD CONSTRAINT ck_webhook_endpoints_target
            CHECK (CASE kind WHEN 'webhook' THEN url IS NOT NULL AND secret IS NOT NULL
                ELSE target IS NOT NULL END)
    """,
    # An organisation's events have one topic: two channels would publish each event twice.
    """
    CREATE UNIQUE INDEX uq_webhook_endpoints_mqtt ON webhook_endpoints (organisation_id) WHERE kind = 'mqtt'
    """,
    """
    CREATE TABLE endpoint_states (
        endpoint_id uuid PRIMARY KEY REFERENCES webhook_endpoints ON DELETE CASCADE,
        consecutive_failures integer NOT NULL DEFAULT 0,
        failing_since timestamptz,
        noticed_at timestamptz,
        last_success_at timestamptz,
        last_failure_at timestamptz,
        last_reason text,
        last_status integer,
        open_until timestamptz,
        slow_step integer NOT NULL DEFAULT 0,
        tokens double precision,
        tokens_at timestamptz
    ) WITH (fillfactor = 50)
    """,
    """
    ALTER TABLE deliveries
        ADD COLUMN site_id uuid,
        ADD COLUMN format text NOT NULL DEFAULT 'native',
        ADD COLUMN replay_id uuid
    """,
    # With `id`, deliveries that are due at the same time are read in their order of creation without a sort.
    "DROP INDEX ix_deliveries_endpoint_id_due",
    """
    CREATE INDEX ix_deliveries_endpoint_id_due ON deliveries (endpoint_id, due_at, id) WHERE state = 'pending'
    """,
    "CREATE INDEX ix_deliveries_organisation_id ON deliveries (organisation_id, id)",
    "CREATE INDEX ix_deliveries_endpoint_id_failed ON deliveries (endpoint_id, id) WHERE state = 'failed'",
    "CREATE INDEX ix_deliveries_replay_id ON deliveries (replay_id) WHERE replay_id IS NOT NULL",
    "ALTER TABLE delivery_attempts ADD COLUMN endpoint_id uuid",
    "UPDATE delivery_attempts a SET endpoint_id = d.endpoint_id FROM deliveries d WHERE d.id = a.delivery_id",
    "ALTER TABLE delivery_attempts ALTER COLUMN endpoint_id SET NOT NULL",
    "CREATE INDEX ix_delivery_attempts_endpoint_id ON delivery_attempts (endpoint_id, started_at)",
    """
    CREATE TABLE delivery_replays (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
        since timestamptz NOT NULL,
        until timestamptz NOT NULL,
        states text[] NOT NULL,
        types text[],
        state text NOT NULL CHECK (state IN ('running', 'done', 'cancelled')),
        total integer NOT NULL,
        replayed integer NOT NULL DEFAULT 0,
        after_id uuid,
        created_at timestamptz NOT NULL,
        created_by uuid,
        finished_at timestamptz
    )
    """,
    "CREATE INDEX ix_delivery_replays_endpoint_id ON delivery_replays (endpoint_id, id)",
    "CREATE INDEX ix_delivery_replays_running ON delivery_replays (id) WHERE state = 'running'",
    "ALTER TABLE outbox ADD COLUMN stream_position bigint",
    "CREATE SEQUENCE outbox_stream",
    """
    UPDATE outbox SET stream_position = placed.place FROM (
        SELECT position, nextval('outbox_stream') AS place FROM (
            SELECT position FROM outbox WHERE fanned_out_at IS NOT NULL ORDER BY position
        ) AS sorted
    ) AS placed WHERE outbox.position = placed.position
    """,
    """
    CREATE INDEX ix_outbox_stream ON outbox (organisation_id, stream_position)
        WHERE stream_position IS NOT NULL
    """,
    "CREATE INDEX ix_outbox_stream_position ON outbox (stream_position) WHERE stream_position IS NOT NULL",
    """
    CREATE TABLE broker_accounts (
        username text PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        password_hash text NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
)
# The older program supports only webhooks in its own format. It cannot read sealed secrets: it logs that
# it signs nothing, until the secrets are replaced.
_DOWN = (
    _LOCK,
    "DROP TABLE broker_accounts",
    "DROP INDEX ix_outbox_stream_position",
    "DROP INDEX ix_outbox_stream",
    "ALTER TABLE outbox DROP COLUMN stream_position",
    "DROP SEQUENCE outbox_stream",
    "DROP TABLE delivery_replays",
    "ALTER TABLE delivery_attempts DROP COLUMN endpoint_id",
    "DELETE FROM deliveries WHERE format <> 'native'",
    "ALTER TABLE deliveries DROP COLUMN site_id, DROP COLUMN format, DROP COLUMN replay_id",
    "DROP INDEX ix_deliveries_endpoint_id_due",
    "CREATE INDEX ix_deliveries_endpoint_id_due ON deliveries (endpoint_id, due_at) WHERE state = 'pending'",
    "DROP INDEX ix_deliveries_organisation_id",
    "DROP INDEX ix_deliveries_endpoint_id_failed",
    "DROP TABLE endpoint_states",
    "DELETE FROM webhook_endpoints WHERE kind <> 'webhook'",
    "DROP INDEX uq_webhook_endpoints_mqtt",
    """
    ALTER TABLE webhook_endpoints
        DROP CONSTRAINT ck_webhook_endpoints_target,
        ALTER COLUMN url SET NOT NULL,
        ALTER COLUMN secret SET NOT NULL,
        DROP COLUMN kind, DROP COLUMN format, DROP COLUMN target, DROP COLUMN min_severity,
        DROP COLUMN headers, DROP COLUMN former_secrets, DROP COLUMN rate_per_s, DROP COLUMN concurrency,
        DROP COLUMN disabled_reason, DROP COLUMN disabled_at
    """,
)


def upgrade() -> None:
    for statement in _UP:
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN:
        op.execute(statement)
