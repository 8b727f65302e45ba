"""Adds the tree of organisations, keys limited to sites, and row-level security with a role per process.

An organisation is the platform itself, an integrator, or a client; an integrator's clients are its children.
Existing data become the platform's own. The API reads `samples` through `tenant_samples`, because a
hypertable's policies do not apply to its chunks, which a role with access to the hypertable could read
directly. Roles belong to the server: this migration creates them if that is allowed; otherwise they must
exist (`deploy/roles.sql`).
"""

from typing import Final

from alembic import op

from migrations.isolation import (
    API,
    DELIVER,
    EVERYBODY,
    INGEST,
    MAINTAIN,
    ROLES,
    grant,
    make_roles,
    open_to,
    organisation_in_reach,
    protect,
    site_in_reach,
    unprotect,
)
from migrations.samples_view import DROP_VIEW, make_samples_view

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TREE: Final = (
    """
    ALTER TABLE organisations
        ADD COLUMN kind text NOT NULL DEFAULT 'client',
        ADD COLUMN parent_id uuid REFERENCES organisations ON DELETE RESTRICT,
        ADD CONSTRAINT ck_organisations_kind CHECK (kind IN ('platform', 'integrator', 'client')),
        ADD CONSTRAINT ck_organisations_platform CHECK (platform = (kind = 'platform')) NOT VALID
    """,
    "UPDATE organisations SET kind = 'platform' WHERE platform",
    "ALTER TABLE organisations VALIDATE CONSTRAINT ck_organisations_platform",
    """
    UPDATE organisations SET parent_id = (SELECT id FROM organisations WHERE platform) WHERE NOT platform
    """,
    "CREATE INDEX ix_organisations_parent_id ON organisations (parent_id, id)",
    "ALTER TABLE api_keys ADD COLUMN site_ids uuid[]",
)
_FUNCTIONS: Final = (
    """
    CREATE FUNCTION vigie_reaches_all() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT coalesce(current_setting('vigie.reach', true) = 'all', false)
    $$
    """,
    """
    CREATE FUNCTION vigie_organisations() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT CASE WHEN current_setting('vigie.reach', true) <> 'all'
            THEN string_to_array(current_setting('vigie.reach', true), ',')::uuid[] END
    $$
    """,
    """
    CREATE FUNCTION vigie_sites() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT string_to_array(nullif(current_setting('vigie.sites', true), ''), ',')::uuid[]
    $$
    """,
)
_ORGANISATION: Final = organisation_in_reach()
_EVERY_SITE: Final = "(SELECT vigie_sites()) IS NULL"
_AT_SITE: Final = f"{_ORGANISATION} AND {site_in_reach()}"


def _through(table: str, key: str, of: str) -> str:
    """Build a condition: the row's parent is visible, which has a policy of its own."""
    return f"({EVERYBODY} OR EXISTS (SELECT FROM {table} o WHERE o.{key} = {of}))"


_POLICIES: Final = {
    # A new organisation is not in the tenant scope yet, but its parent is.
    "organisations": f"({organisation_in_reach('id')} OR {organisation_in_reach('parent_id')})",
    "api_keys": _ORGANISATION,
    "broker_accounts": _ORGANISATION,
    "sites": f"{_ORGANISATION} AND {site_in_reach('id')}",
    "boxes": _AT_SITE,
    "claims": _AT_SITE,
    "provisioning_keys": _AT_SITE,
    "rules": _AT_SITE,
    "alerts": _AT_SITE,
    "backtests": _AT_SITE,
    "silences": _ORGANISATION,
    "inhibitions": _ORGANISATION,
    "alert_timeline": f"{_ORGANISATION} AND ({_EVERY_SITE} OR {_through('alerts', 'id', 'alert_id')})",
    "webhook_endpoints": _ORGANISATION,
    "deliveries": _ORGANISATION,
    "delivery_groups": _ORGANISATION,
    "delivery_replays": _ORGANISATION,
    "outbox": _ORGANISATION,
    "events": f"{_ORGANISATION} AND ({_EVERY_SITE} OR {_through('boxes', 'key', 'box_key')})",
    "former_boxes": _ORGANISATION,
    # Messages of an unregistered box belong to nobody until somebody registers the box.
    "quarantine": (
        f"({_ORGANISATION} AND ({_EVERY_SITE} OR {_through('boxes', 'id', 'box')})"
        f" OR organisation_id IS NULL AND {_through('boxes', 'id', 'box')})"
    ),
    "box_states": _through("boxes", "key", "box_key"),
    "box_configs": _through("boxes", "key", "box_key"),
    "site_states": _through("sites", "id", "site_id"),
    "rule_versions": _through("rules", "id", "rule_id"),
    "endpoint_states": _through("webhook_endpoints", "id", "endpoint_id"),
    "delivery_attempts": _through("deliveries", "id", "delivery_id"),
    "group_events": _through("delivery_groups", "id", "group_id"),
}
# All tables are locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = f"LOCK TABLE {', '.join(_POLICIES)} IN ACCESS EXCLUSIVE MODE"
_BOX: Final = (
    "key, id, organisation_id, site_id, name, longitude, latitude, interval_s, ack, kind, tags, attributes, "
    "state, state_at, firmware, battery, rssi, revision, created_at, updated_at, deleted_at, revoked_at, "
    "shared_until"
)
_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
# Only the API reads API keys. Of the others only the role that writes the broker's file reads passwords.
_GRANTS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("SELECT", "alembic_version, metrics, heartbeats, registry", ROLES),
    ("INSERT, UPDATE, DELETE", "heartbeats", ROLES),
    (_ALL, ", ".join(_POLICIES), (API,)),
    (_ALL, "claim_attempts", (API, MAINTAIN)),
    ("UPDATE", "registry", (API, INGEST, MAINTAIN)),
    ("SELECT", "ingest_totals", (API, MAINTAIN)),
    ("SELECT", "tenant_samples", (API,)),
    ("SELECT, INSERT", "samples", (INGEST,)),
    (f"SELECT ({_BOX}), UPDATE (state, state_at, firmware, battery, rssi, shared_until)", "boxes", (INGEST,)),
    ("SELECT", "organisations, sites, rules, rule_versions, silences, inhibitions, former_boxes", (INGEST,)),
    (_ALL, "box_states, site_states, box_configs", (INGEST,)),
    ("SELECT, INSERT, UPDATE", "quarantine, alerts, ingest_totals", (INGEST,)),
    ("SELECT, INSERT", "events, alert_timeline, outbox", (INGEST,)),
    (f"SELECT ({_BOX})", "boxes", (DELIVER,)),
    ("SELECT", "organisations, sites, rules, alerts, alert_timeline, silences, inhibitions", (DELIVER,)),
    ("SELECT, INSERT, UPDATE", "outbox, webhook_endpoints", (DELIVER,)),
    (
        _ALL,
        "endpoint_states, deliveries, delivery_attempts, delivery_groups, group_events, delivery_replays",
        (DELIVER,),
    ),
    ("SELECT", "organisations", (MAINTAIN,)),
    (
        _ALL,
        "samples, " + ", ".join(name for name in _POLICIES if name not in {"api_keys", "organisations"}),
        (MAINTAIN,),
    ),
)
_SYSTEM: Final = {
    role: {table.strip() for _, tables, roles in _GRANTS if role in roles for table in tables.split(",")}
    & _POLICIES.keys()
    for role in (INGEST, DELIVER, MAINTAIN)
}


def upgrade() -> None:
    """Create the tree, the roles' privileges, and the policies."""
    make_roles(*ROLES)
    op.execute(_LOCK)
    for statement in (*_TREE, *_FUNCTIONS):
        op.execute(statement)
    for table, condition in _POLICIES.items():
        protect(table, condition)
        roles = sorted(role for role, tables in _SYSTEM.items() if table in tables)
        if roles:
            open_to(table, roles)
    make_samples_view()
    for privileges, tables, holders in _GRANTS:
        grant(privileges, tables, *holders)
    op.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {', '.join(ROLES)}")


def downgrade() -> None:
    """Drop privileges, policies and the tree."""
    op.execute(_LOCK)
    for _, tables, holders in _GRANTS:
        op.execute(f"REVOKE ALL ON {tables} FROM {', '.join(holders)}")
    op.execute(f"REVOKE USAGE ON ALL SEQUENCES IN SCHEMA public FROM {', '.join(ROLES)}")
    op.execute(DROP_VIEW)
    for table in _POLICIES:
        unprotect(table)
    for name in ("vigie_sites", "vigie_organisations", "vigie_reaches_all"):
        op.execute(f"DROP FUNCTION {name}()")
    op.execute("ALTER TABLE api_keys DROP COLUMN site_ids")
    op.execute("ALTER TABLE organisations DROP COLUMN parent_id, DROP COLUMN kind")
