"""Adds what several brokers and several ingest workers need: edges, positions in the log: expands."""

from typing import Final

from alembic import op

from migrations.audit import BY_PEOPLE
from migrations.isolation import API, DELIVER, EVERYBODY, INGEST, MAINTAIN, grant, open_to, protect

revision = "0051"
down_revision = "0050"
branch_labels = None
depends_on = None

_STATEMENTS: Final = (
    """
    CREATE TABLE edges (
        name text PRIMARY KEY,
        host text NOT NULL,
        port integer NOT NULL,
        started_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        connected boolean NOT NULL,
        drained_at timestamptz,
        boxes integer,
        unsent_messages integer NOT NULL DEFAULT 0,
        problem text
    )
    """,
    """
    CREATE TABLE ingest_positions (
        partition integer PRIMARY KEY,
        position bigint NOT NULL DEFAULT 0,
        log_id text NOT NULL DEFAULT '',
        worker text,
        acquired_at timestamptz,
        committed_at timestamptz,
        kept_from bigint NOT NULL DEFAULT 0,
        next_kept_from bigint NOT NULL DEFAULT 0,
        next_kept_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # The last 32 bits of a site's id are random. app/message_log/partitions.py has the same.
    """
    CREATE FUNCTION site_partition(site_id uuid, partitions integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT (('x' || right(site_id::text, 8))::bit(32)::bigint % partitions)::integer
    $$
    """,
    # The edge through which the box last said that it is online.
    "ALTER TABLE boxes ADD COLUMN edge text",
    # Each edge finds the changed configurations by itself: those of transactions that it has not seen.
    # Numbers of transactions and `pg_snapshot_xmin` miss none, in whatever order transactions commit.
    "ALTER TABLE box_configs ADD COLUMN desired_xid bigint",
    """
    CREATE FUNCTION box_configs_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.desired_xid := pg_current_xact_id()::text::bigint;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER box_configs_stamp BEFORE INSERT OR UPDATE OF desired, desired_at ON box_configs
    FOR EACH ROW WHEN (NEW.desired_at IS NOT NULL) EXECUTE FUNCTION box_configs_stamp()
    """,
    "CREATE INDEX ix_box_configs_desired_xid ON box_configs (desired_xid)",
    # Which standby is synchronous. PostgreSQL shows that to roles with pg_read_all_stats, which also see the
    # statements of all sessions: the owner has it (deploy/roles.sql), and the processes call this function.
    # Without it the columns are empty. A standby names itself as its primary knows it.
    r"""
    CREATE FUNCTION replication_status() RETURNS TABLE (name text, address text, sync_state text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
        SELECT application_name, host(client_addr), sync_state FROM pg_stat_replication
        UNION ALL
        SELECT coalesce(
            substring(conninfo FROM '(?:^| )application_name=([^ ]+)'),
            substring(conninfo FROM '(?:^| )fallback_application_name=([^ ]+)')
        ), NULL, NULL FROM pg_stat_wal_receiver
    $$
    """,
    "REVOKE EXECUTE ON FUNCTION replication_status() FROM PUBLIC",
    # An edge belongs to the installation: its removal is in the log of the platform's organisation.
    """
    CREATE FUNCTION edges_record_removal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM audit_enter(
            ARRAY(SELECT id FROM organisations WHERE platform), 'edge.deleted',
            jsonb_build_object('kind', 'edge', 'id', OLD.name),
            jsonb_build_object('host', OLD.host, 'port', OLD.port, 'seen_at', OLD.seen_at), NULL
        );
        RETURN NULL;
    END $$
    """,
    "REVOKE EXECUTE ON FUNCTION edges_record_removal() FROM PUBLIC",
    f"""
    CREATE TRIGGER audit_deleted AFTER DELETE ON edges FOR EACH ROW WHEN ({BY_PEOPLE})
    EXECUTE FUNCTION edges_record_removal()
    """,
)


def upgrade() -> None:
    """Create the tables, the function and the column."""
    for statement in _STATEMENTS:
        op.execute(statement)
    protect("edges", EVERYBODY)
    open_to("edges", (INGEST, DELIVER, MAINTAIN))
    grant("SELECT", "edges", API, INGEST, DELIVER)
    grant("DELETE", "edges", API)
    grant("SELECT, INSERT, UPDATE, DELETE", "edges", MAINTAIN)
    protect("ingest_positions", EVERYBODY)
    open_to("ingest_positions", (INGEST, MAINTAIN))
    grant("SELECT, INSERT, UPDATE", "ingest_positions", INGEST)
    grant("SELECT", "ingest_positions", API, MAINTAIN)
    op.execute(f"GRANT EXECUTE ON FUNCTION replication_status() TO {API}, {MAINTAIN}")
    grant("SELECT (edge), UPDATE (edge)", "boxes", INGEST)
    # An edge logs in as maintain. It follows the sites of boxes, and the configurations.
    grant("SELECT (revision)", "boxes", MAINTAIN)
    grant("SELECT (version)", "registry", MAINTAIN)
    grant("SELECT (desired_xid)", "box_configs", MAINTAIN)


def downgrade() -> None:
    """Remove them. Stop the edges first, and let ingest read the log to its end."""
    op.execute("REVOKE SELECT (version) ON registry FROM vigie_maintain")
    op.execute("REVOKE SELECT (revision) ON boxes FROM vigie_maintain")
    op.execute("DROP TRIGGER box_configs_stamp ON box_configs")
    op.execute("DROP FUNCTION box_configs_stamp()")
    op.execute("ALTER TABLE box_configs DROP COLUMN desired_xid")
    op.execute("ALTER TABLE boxes DROP COLUMN edge")
    op.execute("DROP FUNCTION replication_status()")
    op.execute("DROP FUNCTION site_partition(uuid, integer)")
    op.execute("DROP TABLE ingest_positions")
    op.execute("DROP TABLE edges")
    op.execute("DROP FUNCTION edges_record_removal()")
