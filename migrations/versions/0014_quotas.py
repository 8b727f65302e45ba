"""Quotas of organisations, what of them is used and was refused each day, and who was told.

What an organisation has no quota of its own for is held by the installation's default, which is a setting:
functions take it as an argument. A quota that an integrator was given holds for it and its clients together,
so room is taken beyond the caller's reach, by one function that gives away nothing but numbers.
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
    # A row for each writer: processes that count at once do not wait for each other.
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
    # By whose quotas something of these organisations is held, and how much there may be.
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
    # Locked, in the order of their ids, before it is counted: of two who take room at once the second one
    # counts what the first one took. What counts may be beyond the caller's reach, which is widened for this
    # alone; where it fails the rollback narrows it again. A function's own SET would need a superuser.
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
    """Make columns, tables and functions."""
    for statement in (*_TABLES, *_FUNCTIONS):
        op.execute(statement)
    for table in ("organisation_usage", "quota_notices"):
        protect(table, organisation_in_reach())
    open_to("organisation_usage", (INGEST, MAINTAIN))
    open_to("quota_notices", (MAINTAIN,))
    grant("SELECT, INSERT, UPDATE", "organisation_usage", API, INGEST)
    grant("SELECT, INSERT, UPDATE, DELETE", "organisation_usage, quota_notices", MAINTAIN)
    # Whoever tells of a quota counts keys, and sees nothing else of them.
    op.execute(f"GRANT SELECT (organisation_id, revoked_at) ON api_keys TO {MAINTAIN}")
    op.execute(f"CREATE POLICY quotas ON api_keys FOR SELECT TO {MAINTAIN} USING (true)")
    op.execute(f"REVOKE ALL ON FUNCTION {_SIGNATURES[0]} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {_SIGNATURES[0]} TO {API}")


def downgrade() -> None:
    """Forget all quotas, and what was used of them."""
    for signature in _SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("DROP POLICY quotas ON api_keys")
    op.execute(f"REVOKE ALL (organisation_id, revoked_at) ON api_keys FROM {MAINTAIN}")
    op.execute("DROP TABLE quota_notices, organisation_usage")
    op.execute(f"ALTER TABLE organisations {', '.join(f'DROP COLUMN quota_{name}' for name in _QUOTAS)}")
