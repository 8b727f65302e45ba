"""Adds grants: revocable, dated rights of third parties to measurements, their keys, acceptances and uses.

The setting `vigie.grant` of a transaction holds the id of the grant by which its caller reads. Such a caller
sees the rows of this grant alone. A change of a grant, of its keys or of a site's purposes is announced to
all API processes (`vigie_access`, migration 0039). Expands.
"""

from typing import Final

from alembic import op

from migrations.audit import watch
from migrations.isolation import API, MAINTAIN, PUBLIC, grant, open_to, organisation_in_reach, protect

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None

# Locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = "LOCK TABLE organisations, site_purposes IN SHARE ROW EXCLUSIVE MODE"
_FUNCTION: Final = """
CREATE FUNCTION vigie_grant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('vigie.grant', true), '')::uuid
$$
"""
_TABLES: Final = (
    """
    CREATE TABLE grants (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        recipient text NOT NULL,
        recipient_country text NOT NULL,
        contact text,
        purpose text NOT NULL,
        site_ids uuid[] NOT NULL,
        metrics text[] NOT NULL,
        covers_from timestamptz,
        covers_until timestamptz,
        precision_m integer,
        terms text NOT NULL,
        valid_until timestamptz NOT NULL,
        is_recipient_published boolean NOT NULL DEFAULT false,
        offered jsonb,
        link_hash bytea CONSTRAINT uq_grants_link_hash UNIQUE,
        link_expires_at timestamptz,
        accepted_at timestamptz,
        suspended_at timestamptz,
        revoked_at timestamptz,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT ck_grants_range CHECK (covers_from < covers_until)
    )
    """,
    """
    CREATE TABLE grant_acceptances (
        id uuid PRIMARY KEY,
        grant_id uuid NOT NULL REFERENCES grants ON DELETE CASCADE,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        accepted_at timestamptz NOT NULL,
        name text,
        address text,
        terms_hash text NOT NULL,
        content jsonb NOT NULL,
        content_hash text NOT NULL
    )
    """,
    """
    CREATE TABLE grant_keys (
        id uuid PRIMARY KEY,
        grant_id uuid NOT NULL REFERENCES grants ON DELETE CASCADE,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        hint text NOT NULL,
        hash bytea NOT NULL CONSTRAINT uq_grant_keys_hash UNIQUE,
        created_at timestamptz NOT NULL,
        revoked_at timestamptz
    )
    """,
    """
    CREATE TABLE grant_uses (
        grant_id uuid NOT NULL REFERENCES grants ON DELETE CASCADE,
        key_id uuid NOT NULL REFERENCES grant_keys ON DELETE CASCADE,
        kind text NOT NULL,
        hour timestamptz NOT NULL,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        calls bigint NOT NULL,
        value_count bigint NOT NULL,
        site_ids uuid[] NOT NULL,
        metrics text[] NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        audited_at timestamptz,
        PRIMARY KEY (grant_id, hour, key_id, kind)
    )
    """,
)
_INDEXES: Final = (
    "CREATE INDEX ix_grants_organisation_id ON grants (organisation_id, id)",
    "CREATE INDEX ix_grant_acceptances_grant_id ON grant_acceptances (grant_id, id)",
    "CREATE INDEX ix_grant_acceptances_organisation_id ON grant_acceptances (organisation_id)",
    "CREATE INDEX ix_grant_keys_grant_id ON grant_keys (grant_id, id)",
    "CREATE INDEX ix_grant_keys_organisation_id ON grant_keys (organisation_id)",
    "CREATE INDEX ix_grant_uses_organisation_id ON grant_uses (organisation_id)",
    "CREATE INDEX ix_grant_uses_key_id ON grant_uses (key_id)",
    "CREATE INDEX ix_grant_uses_hour ON grant_uses (hour) WHERE audited_at IS NULL",
)
_RECORDED: Final = (
    *("organisation_id", "recipient", "recipient_country", "purpose", "site_ids", "metrics"),
    *("covers_from", "covers_until", "precision_m", "valid_until", "is_recipient_published"),
    *("accepted_at", "suspended_at", "revoked_at", "offered"),
)
# An unknown key is not cached: new ones need no announcement.
_ANNOUNCED: Final = {
    "grants": "UPDATE OR DELETE",
    "grant_keys": "UPDATE OF revoked_at OR DELETE",
    "site_purposes": "INSERT OR UPDATE OR DELETE",
}
# `vigie maintain` may say that an hour is over, and this function writes what the row says of it.
_USED: Final = """
CREATE FUNCTION audit_grant_used() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_pending (organisation_id, record, actor_id, action, subject_kind, subject_ids)
    SELECT NEW.organisation_id, audit_told(
            jsonb_build_object('kind', 'grant', 'id', NEW.key_id, 'name', NULL), 'grant.used',
            jsonb_build_object('kind', 'grant', 'id', NEW.grant_id), NULL,
            jsonb_build_object('read', NEW.kind, 'hour', NEW.hour, 'calls', NEW.calls,
                'values', NEW.value_count, 'site_ids', NEW.site_ids, 'metrics', NEW.metrics),
            context.origin),
        NEW.key_id::text, 'grant.used', 'grant', ARRAY[NEW.grant_id::text]
    FROM (SELECT * FROM audit_context() OFFSET 0) AS context;
    RETURN NULL;
END $$
"""
_USED_TRIGGER: Final = """
CREATE TRIGGER audit_used AFTER UPDATE OF audited_at ON grant_uses FOR EACH ROW
WHEN (OLD.audited_at IS NULL AND NEW.audited_at IS NOT NULL) EXECUTE FUNCTION audit_grant_used()
"""
_PUBLIC_VIEW: Final = """
CREATE VIEW public_grants WITH (security_barrier) AS
SELECT site.id AS site_id, g.purpose, CASE WHEN g.is_recipient_published THEN g.recipient END AS recipient,
    g.metrics, g.valid_until
FROM grants g CROSS JOIN LATERAL unnest(g.site_ids) AS site (id)
WHERE g.accepted_at IS NOT NULL AND g.revoked_at IS NULL AND g.suspended_at IS NULL AND g.valid_until > now()
"""


def upgrade() -> None:
    """Create the tables, their policies and triggers, and the view of the public register."""
    op.execute(_LOCK)
    op.execute(_FUNCTION)
    for statement in (*_TABLES, *_INDEXES):
        op.execute(statement)
    for table in ("grants", "grant_acceptances", "grant_keys", "grant_uses"):
        column = "id" if table == "grants" else "grant_id"
        mine = f"((SELECT vigie_sites()) IS NULL OR {column} = (SELECT vigie_grant()))"
        protect(table, f"{organisation_in_reach()} AND {mine}")
        open_to(table, (MAINTAIN,))
    grant("SELECT, INSERT, UPDATE, DELETE", "grants, grant_keys", API)
    grant("SELECT, INSERT", "grant_acceptances", API)
    grant("SELECT, INSERT, UPDATE", "grant_uses", API)
    grant("SELECT (id, contact, valid_until, revoked_at), UPDATE (contact, link_hash)", "grants", MAINTAIN)
    grant("SELECT (grant_id, name, address), UPDATE (name, address)", "grant_acceptances", MAINTAIN)
    grant(
        "SELECT (grant_id, key_id, kind, hour, audited_at), UPDATE (audited_at), DELETE",
        "grant_uses",
        MAINTAIN,
    )
    watch(
        "grants",
        "grant",
        _RECORDED,
        hidden=("contact", "terms", "link_hash", "link_expires_at"),
        name="recipient",
    )
    watch(
        "grant_keys",
        "grant_key",
        ("organisation_id", "grant_id", "revoked_at"),
        hidden=("hash",),
        name="hint",
    )
    watch(
        "grant_acceptances",
        "grant_acceptance",
        ("organisation_id", "grant_id", "terms_hash", "content", "content_hash"),
        hidden=("name", "address"),
        name="",
    )
    for table, events in _ANNOUNCED.items():
        op.execute(
            f"CREATE TRIGGER notify_access_changed AFTER {events} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION notify_access_changed()"
        )
    op.execute(_USED)
    op.execute("REVOKE ALL ON FUNCTION audit_grant_used() FROM PUBLIC")
    op.execute(_USED_TRIGGER)
    op.execute(_PUBLIC_VIEW)
    grant("SELECT", "public_grants", PUBLIC)


def downgrade() -> None:
    """Drop them: no key of a grant opens anything any more."""
    op.execute(_LOCK)
    op.execute("DROP VIEW public_grants")
    op.execute("DROP TRIGGER notify_access_changed ON site_purposes")
    for table in ("grant_uses", "grant_acceptances", "grant_keys", "grants"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION audit_grant_used()")
    op.execute("DROP FUNCTION vigie_grant()")
