"""Creates the first schema."""

from alembic import op

from migrations.metrics import add_metrics

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TENANTS = """
CREATE TABLE organisations (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    platform boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX uq_organisations_platform ON organisations (platform) WHERE platform;

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    name text NOT NULL,
    hint text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    platform boolean NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX ix_api_keys_organisation_id ON api_keys (organisation_id, id);

CREATE TABLE sites (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    name text NOT NULL,
    kind text NOT NULL,
    timezone text NOT NULL,
    longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    latitude double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    retention_days integer CHECK (retention_days > 0),
    revision bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ix_sites_organisation_id ON sites (organisation_id, id);

CREATE TABLE boxes (
    key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    site_id uuid NOT NULL REFERENCES sites ON DELETE RESTRICT,
    name text,
    longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    interval_s integer NOT NULL CHECK (interval_s > 0),
    ack boolean NOT NULL,
    password_hash text NOT NULL,
    state text CHECK (state IN ('online', 'offline')),
    state_at timestamptz,
    firmware text,
    battery double precision,
    rssi double precision,
    revision bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE UNIQUE INDEX uq_boxes_id ON boxes (id) WHERE deleted_at IS NULL;
CREATE INDEX ix_boxes_site_id ON boxes (site_id, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_boxes_organisation_id ON boxes (organisation_id, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_boxes_deleted_at ON boxes (deleted_at) WHERE deleted_at IS NOT NULL;
"""

# The pipeline caches boxes, sites and rules. Each transaction that changes one of them takes the next version
# and stamps it on the rows. With one number the pipeline knows whether its copy is current, and the stamps
# name the rows to read again. The lock on the counter's row orders versions like commits.
_REGISTRY = (
    """
    CREATE TABLE registry (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        version bigint NOT NULL
    )
    """,
    "INSERT INTO registry (version) VALUES (1)",
    """
    CREATE FUNCTION registry_next() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE registry SET version = version + 1;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION registry_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.revision := (SELECT version FROM registry);
        RETURN NEW;
    END $$
    """,
    *(
        statement
        for table, columns in (
            ("sites", "organisation_id, retention_days, timezone"),
            # Without state, firmware and other columns that the pipeline itself writes.
            ("boxes", "id, organisation_id, site_id, interval_s, ack, deleted_at"),
            ("rules", "name, severity, condition, enabled, version, deleted_at"),
        )
        for statement in (
            f"""
            CREATE TRIGGER registry_next BEFORE INSERT OR UPDATE OF {columns} ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION registry_next()
            """,
            f"""
            CREATE TRIGGER registry_stamp BEFORE INSERT OR UPDATE OF {columns} ON {table}
            FOR EACH ROW EXECUTE FUNCTION registry_stamp()
            """,
            f"CREATE INDEX ix_{table}_revision ON {table} (revision)",
        )
    ),
)

_OBSERVATIONS = """
CREATE TABLE metrics (
    name text PRIMARY KEY,
    unit text NOT NULL,
    description text NOT NULL,
    minimum double precision NOT NULL,
    maximum double precision NOT NULL,
    kind text NOT NULL CHECK (kind IN ('gauge', 'level'))
);

-- Eight-byte columns first, then box_key: no padding between them. The metrics' columns follow.
CREATE TABLE samples (
    time timestamptz NOT NULL,
    seq bigint,
    box_key integer NOT NULL,
    PRIMARY KEY (box_key, time)
);
SELECT create_hypertable('samples', by_range('time', INTERVAL '7 days'), create_default_indexes => false);

-- Read and written by every batch: room on each page lets an update stay on it (HOT).
CREATE TABLE box_states (
    box_key integer PRIMARY KEY REFERENCES boxes ON DELETE CASCADE,
    latest jsonb NOT NULL DEFAULT '{}',
    rules jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- What a box should be configured to, and what it last said that it is.
CREATE TABLE box_configs (
    box_key integer PRIMARY KEY REFERENCES boxes ON DELETE CASCADE,
    desired jsonb,
    desired_at timestamptz,
    published_at timestamptz,
    reported jsonb,
    reported_at timestamptz
);
CREATE INDEX ix_box_configs_due ON box_configs (desired_at)
    WHERE published_at IS NULL OR published_at < desired_at;

CREATE TABLE events (
    id uuid PRIMARY KEY,
    box_key integer NOT NULL REFERENCES boxes ON DELETE CASCADE,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    time timestamptz NOT NULL,
    type text NOT NULL,
    seq bigint,
    candidates jsonb NOT NULL,
    level_db double precision,
    clock_error_ms double precision,
    received_at timestamptz NOT NULL,
    UNIQUE (box_key, time, type)
);
CREATE INDEX ix_events_organisation_id ON events (organisation_id, id);
CREATE INDEX ix_events_box_key ON events (box_key, id);

CREATE TABLE quarantine (
    id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL,
    organisation_id uuid REFERENCES organisations ON DELETE CASCADE,
    box text,
    door text NOT NULL CHECK (door IN ('mqtt', 'http')),
    code text NOT NULL,
    detail text NOT NULL,
    topic text,
    payload bytea NOT NULL,
    payload_bytes integer NOT NULL
);
CREATE INDEX ix_quarantine_organisation_id ON quarantine (organisation_id, id);
CREATE INDEX ix_quarantine_box ON quarantine (box, id);

-- Counted in the transaction that stores: exact even when a process is killed between its commit and its
-- next line. One row per connection, so that writers do not wait for each other.
CREATE TABLE ingest_totals (
    day date NOT NULL,
    door text NOT NULL CHECK (door IN ('mqtt', 'http')),
    backend integer NOT NULL,
    stored bigint NOT NULL,
    duplicate bigint NOT NULL,
    conflict bigint NOT NULL,
    rejected bigint NOT NULL,
    late bigint NOT NULL,
    PRIMARY KEY (day, door, backend)
);

CREATE TABLE heartbeats (
    role text NOT NULL,
    instance text NOT NULL,
    state text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (role, instance)
);
"""

_RULES_AND_ALERTS = """
CREATE TABLE rules (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    name text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    condition jsonb NOT NULL,
    enabled boolean NOT NULL,
    version integer NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX ix_rules_site_id ON rules (site_id, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_rules_organisation_id ON rules (organisation_id, id) WHERE deleted_at IS NULL;

CREATE TABLE alerts (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    rule_id uuid NOT NULL REFERENCES rules ON DELETE CASCADE,
    rule_version integer NOT NULL,
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    box_key integer NOT NULL REFERENCES boxes ON DELETE CASCADE,
    box text NOT NULL,
    metric text NOT NULL,
    severity text NOT NULL,
    state text NOT NULL CHECK (state IN ('firing', 'resolved')),
    value double precision NOT NULL,
    threshold double precision NOT NULL,
    clear double precision NOT NULL,
    resolved_value double precision,
    pending_since timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolution text,
    acknowledged_at timestamptz,
    acknowledged_by uuid,
    sequence integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX uq_alerts_firing ON alerts (rule_id, box_key) WHERE state = 'firing';
CREATE INDEX ix_alerts_organisation_id ON alerts (organisation_id, id);
CREATE INDEX ix_alerts_site_id ON alerts (site_id, id);
CREATE INDEX ix_alerts_box_key ON alerts (box_key, id);
CREATE INDEX ix_alerts_organisation_id_firing ON alerts (organisation_id, id) WHERE state = 'firing';
"""

_DELIVERY = """
CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    url text NOT NULL,
    description text,
    events text[] NOT NULL,
    site_ids uuid[],
    secret text NOT NULL,
    enabled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ix_webhook_endpoints_organisation_id ON webhook_endpoints (organisation_id, id);

CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    site_id uuid,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    fanned_out_at timestamptz
);
CREATE INDEX ix_outbox_waiting ON outbox (position) WHERE fanned_out_at IS NULL;

CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    event_id uuid NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempt_count integer NOT NULL,
    due_at timestamptz,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    delivered_at timestamptz,
    UNIQUE (endpoint_id, event_id)
);
CREATE INDEX ix_deliveries_due ON deliveries (due_at) WHERE state = 'pending';
CREATE INDEX ix_deliveries_endpoint_id_due ON deliveries (endpoint_id, due_at) WHERE state = 'pending';
CREATE INDEX ix_deliveries_endpoint_id ON deliveries (endpoint_id, id);

CREATE TABLE delivery_attempts (
    id uuid PRIMARY KEY,
    delivery_id uuid NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms double precision NOT NULL,
    status integer,
    reason text NOT NULL,
    response_body text
);
CREATE UNIQUE INDEX ix_delivery_attempts_delivery_id ON delivery_attempts (delivery_id, number);
"""


def _statements(script: str) -> list[str]:
    # asyncpg prepares one statement at a time.
    lines = (line for line in script.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    for script in (_TENANTS, _OBSERVATIONS, _RULES_AND_ALERTS, _DELIVERY):
        for statement in _statements(script):
            op.execute(statement)
    for statement in _REGISTRY:
        op.execute(statement)
    add_metrics("0001")


def downgrade() -> None:
    for name in (
        "delivery_attempts",
        "deliveries",
        "outbox",
        "webhook_endpoints",
        "alerts",
        "rules",
        "heartbeats",
        "ingest_totals",
        "quarantine",
        "events",
        "box_states",
        "box_configs",
        "samples",
        "metrics",
        "boxes",
        "sites",
        "api_keys",
        "organisations",
        "registry",
    ):
        op.execute(f"DROP TABLE {name}")
    op.execute("DROP FUNCTION registry_next")
    op.execute("DROP FUNCTION registry_stamp")
