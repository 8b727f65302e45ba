"""Adds quotas of organisations, daily counts of usage and refusals, and sent notices.

An organisation without a quota of its own has the installation's default, a setting that functions take as an
argument. An integrator's quota covers the integrator and its clients together. So one function reserves room
beyond the caller's tenant scope; it returns only numbers.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, INGEST, MAINTAIN, grant, open_to, organisation_in_reach, protect

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_QUOTAS: Final = ("sites", "boxes", "api_keys", "webhooks", "clients", "samples_per_day")
_COLUMNS: Final = ", ".join(
    f"ADD COLUMN quota_{name} bigint CONSTRAINT ck_organisations_quota_{name} CHECK (quota_{name} >= 0)"
    for name in _QUOTAS
)
_SET: Final = " ".join(f"WHEN '{name}' THEN o.quota_{name}" for name in _QUOTAS)
_TABLES: Final = (
    f"ALTER TABLE organisations {_COLUMNS}",
    # One row per writer, so that processes that count at the same time do not wait for each other.
    """
    CREATE TABLE organisation_usage (
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        day date NOT NULL,
        quota text NOT NULL,
        writer integer NOT NULL,
        used bigint NOT NULL,
        refused bigint NOT NULL,
        PRIMARY KEY (day, organisation_id, quota, writer)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE quota_notices (
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        quota text NOT NULL,
        day date NOT NULL,
        type text NOT NULL,
        PRIMARY KEY (day, organisation_id, quota, type)
    )
    """,
)
_FUNCTIONS: Final = (
    f"""
    CREATE FUNCTION vigie_quota_set(o organisations, which text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE which {_SET} END $$
    """,
    # Finds the organisations whose quotas apply to the given ones, with their limits.
    """
    CREATE FUNCTION vigie_quota_holders(owners uuid[], which text, otherwise bigint)
    RETURNS TABLE (owner uuid, holder uuid, tree boolean, most bigint)
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT o.id, o.id, o.kind = 'integrator' AND vigie_quota_set(o, which) IS NOT NULL,
            coalesce(vigie_quota_set(o, which), otherwise)
        FROM organisations o
        WHERE o.id = ANY (owners) AND coalesce(vigie_quota_set(o, which), otherwise) IS NOT NULL
        UNION ALL
        SELECT o.id, p.id, true, vigie_quota_set(p, which)
        FROM organisations o JOIN organisations p ON p.id = o.parent_id AND p.kind = 'integrator'
        WHERE o.id = ANY (owners) AND which <> 'clients' AND vigie_quota_set(p, which) IS NOT NULL
    $$
    """,
    """
    CREATE FUNCTION vigie_quota_used(holder uuid, tree boolean, which text, today date) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
    DECLARE
        whose uuid[] := ARRAY[holder];
    BEGIN
        IF tree THEN
            whose := whose || ARRAY(SELECT o.id FROM organisations o WHERE o.parent_id = holder);
        END IF;
        RETURN CASE which
            WHEN 'sites' THEN (SELECT count(*) FROM sites t WHERE t.organisation_id = ANY (whose))
            WHEN 'boxes' THEN (
                SELECT count(*) FROM boxes t WHERE t.organisation_id = ANY (whose) AND t.deleted_at IS NULL
            )
            WHEN 'api_keys' THEN (
                SELECT count(*) FROM api_keys t
                WHERE t.organisation_id = ANY (whose) AND t.revoked_at IS NULL
            )
            WHEN 'webhooks' THEN (
                SELECT count(*) FROM webhook_endpoints t WHERE t.organisation_id = ANY (whose)
            )
            WHEN 'clients' THEN (SELECT count(*) FROM organisations t WHERE t.parent_id = holder)
            WHEN 'samples_per_day' THEN (
                SELECT coalesce(sum(t.used), 0) FROM organisation_usage t
                WHERE t.day = today AND t.organisation_id = ANY (whose) AND t.quota = which
            )
        END;
    END $$
    """,
    # Organisations are locked, in the order of their ids, before the count: so of two concurrent calls the
    # second counts what the first reserved. Counted rows may be outside the caller's tenant scope, which is
    # widened for this function alone; on an error the rollback narrows it again. A SET clause would need a
    # superuser.
    """
    CREATE FUNCTION vigie_quota_room(owners uuid[], which text, otherwise bigint)
    RETURNS TABLE (owner uuid, holder uuid, most bigint, used bigint) LANGUAGE plpgsql AS $$
    DECLARE
        reach text := coalesce(current_setting('vigie.reach', true), '');
        sites text := coalesce(current_setting('vigie.sites', true), '');
        held uuid[];
    BEGIN
        PERFORM set_config('vigie.reach', 'all', true), set_config('vigie.sites', '', true);
        held := ARRAY(SELECT DISTINCT h.holder FROM vigie_quota_holders(owners, which, otherwise) h);
        IF held <> '{}' THEN
            PERFORM FROM organisations o WHERE o.id = ANY (held) ORDER BY o.id FOR NO KEY UPDATE;
            RETURN QUERY
            SELECT h.owner, h.holder, h.most, vigie_quota_used(h.holder, h.tree, which, NULL)
            FROM vigie_quota_holders(owners, which, otherwise) h;
        END IF;
        PERFORM set_config('vigie.reach', reach, true), set_config('vigie.sites', sites, true);
    END $$
    """,
)
_SIGNATURES: Final = (
    "vigie_quota_room(uuid[], text, bigint)",
    "vigie_quota_used(uuid, boolean, text, date)",
    "vigie_quota_holders(uuid[], text, bigint)",
    "vigie_quota_set(organisations, text)",
)


def upgrade() -> None:
    """Create columns, tables and functions."""
    for statement in (*_TABLES, *_FUNCTIONS):
        op.execute(statement)
    for table in ("organisation_usage", "quota_notices"):
        protect(table, organisation_in_reach())
    open_to("organisation_usage", (INGEST, MAINTAIN))
    open_to("quota_notices", (MAINTAIN,))
    grant("SELECT, INSERT, UPDATE", "organisation_usage", API, INGEST)
    grant("SELECT, INSERT, UPDATE, DELETE", "organisation_usage, quota_notices", MAINTAIN)
    # The role that sends notices counts API keys, and reads no other column of them.
    op.execute(f"GRANT SELECT (organisation_id, revoked_at) ON api_keys TO {MAINTAIN}")
    op.execute(f"CREATE POLICY quotas ON api_keys FOR SELECT TO {MAINTAIN} USING (true)")
    op.execute(f"REVOKE ALL ON FUNCTION {_SIGNATURES[0]} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {_SIGNATURES[0]} TO {API}")


def downgrade() -> None:
    """Drop all quotas and counts of usage."""
    for signature in _SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("DROP POLICY quotas ON api_keys")
    op.execute(f"REVOKE ALL (organisation_id, revoked_at) ON api_keys FROM {MAINTAIN}")
    op.execute("DROP TABLE quota_notices, organisation_usage")
    op.execute(f"ALTER TABLE organisations {', '.join(f'DROP COLUMN quota_{name}' for name in _QUOTAS)}")
