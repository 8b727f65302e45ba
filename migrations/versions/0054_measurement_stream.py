"""Adds the log of committed measurements, from which the measurement stream is read: expands.

A row lists what one transaction stored for one organisation: the identities of samples or hours, events, or
a correction. `box_keys` and `times_us` are parallel arrays, packed by
`app.timeseries.commit_log.packed_identities`. The delivery process assigns `stream_position` after the
commit.
"""

from typing import Final

from alembic import op

from migrations.isolation import (
    API,
    DELIVER,
    INGEST,
    MAINTAIN,
    grant,
    open_to,
    organisation_in_reach,
    protect,
)

revision = "0054"
down_revision = "0053"
branch_labels = None
depends_on = None

_STATEMENTS: Final = (
    """
    CREATE TABLE measurement_commits (
        id bigint GENERATED ALWAYS AS IDENTITY,
        organisation_id uuid NOT NULL,
        kind text NOT NULL,
        committed_at timestamptz NOT NULL DEFAULT now(),
        stream_position bigint,
        positioned_at timestamptz,
        items integer NOT NULL,
        box_keys bytea NOT NULL,
        times_us bytea NOT NULL,
        event_ids uuid[],
        details jsonb,
        CONSTRAINT pk_measurement_commits PRIMARY KEY (id),
        CONSTRAINT ck_measurement_commits_kind CHECK (kind IN ('samples', 'events', 'corrections', 'hours'))
    )
    """,
    # A position changes a row once: vacuum must not wait for a fifth of a week.
    "ALTER TABLE measurement_commits SET (autovacuum_vacuum_scale_factor = 0.02)",
    """
    CREATE INDEX ix_measurement_commits_waiting ON measurement_commits (id) WHERE stream_position IS NULL
    """,
    """
    CREATE INDEX ix_measurement_commits_stream_position ON measurement_commits (stream_position)
    WHERE stream_position IS NOT NULL
    """,
    """
    CREATE INDEX ix_measurement_commits_stream ON measurement_commits (organisation_id, stream_position)
    WHERE stream_position IS NOT NULL
    """,
    "CREATE SEQUENCE measurement_positions",
    # Compresses packed arrays at a tenth of the time of PostgreSQL's own method, where the server has it.
    """
    DO $$ BEGIN
        IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
            ALTER TABLE measurement_commits ALTER box_keys SET COMPRESSION lz4,
                ALTER times_us SET COMPRESSION lz4;
        END IF;
    END $$
    """,
)
# Columns → tables that the delivery process reads, in the tenant scope of a subscriber.
_READ: Final = {
    "": "tenant_samples, tenant_hourly, events, registry_boxes",
    "(key, id, organisation_id, site_id, name, longitude, latitude, interval_s, tags, deleted_at)": "boxes",
    "(site_id, purpose, sensitive, starts_at, ends_at, approved_at)": "site_purposes",
}


def upgrade() -> None:
    """Create the table, and let the delivery process read measurements in a tenant scope."""
    for statement in _STATEMENTS:
        op.execute(statement)
    protect("measurement_commits", organisation_in_reach())
    open_to("measurement_commits", (INGEST, DELIVER, MAINTAIN))
    grant("SELECT, INSERT", "measurement_commits", API)
    grant("INSERT", "measurement_commits", INGEST)
    grant("SELECT, UPDATE (stream_position, positioned_at)", "measurement_commits", DELIVER)
    grant("SELECT, INSERT, DELETE", "measurement_commits", MAINTAIN)
    op.execute(f"GRANT USAGE ON SEQUENCE measurement_positions TO {DELIVER}, {API}")
    # After a restore, to pass the positions that were assigned before it.
    op.execute(f"GRANT UPDATE ON SEQUENCE measurement_positions TO {DELIVER}")
    for columns, tables in _READ.items():
        grant(f"SELECT {columns}", tables, DELIVER)


def downgrade() -> None:
    """Drop the table: subscribers can no longer resume."""
    for columns, tables in _READ.items():
        op.execute(f"REVOKE SELECT {columns} ON {tables} FROM {DELIVER}")  # noqa: S608 (constants)
    op.execute("DROP TABLE measurement_commits")
    op.execute("DROP SEQUENCE measurement_positions")
