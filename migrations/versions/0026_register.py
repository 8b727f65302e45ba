"""Creates the public register: precision of places, recipients of data, history, and published views.

The register uses a role of its own, `vigie_public`, which may read published views and no table: a page
cannot show by mistake what the role cannot read. A place is published as the middle of its grid cell. A box's
id is half of a credential, so the views replace it by a hash of its number.
"""

from typing import Final

from alembic import op

from migrations.audit import watch
from migrations.isolation import (
    PUBLIC,
    grant,
    make_roles,
    organisation_in_reach,
    protect,
    site_in_reach,
    unprotect,
)
from migrations.register_history import FUNCTIONS, SIGNATURES, TRIGGERS

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    ALTER TABLE sites ADD COLUMN register_precision_m integer NOT NULL DEFAULT 100,
        ADD CONSTRAINT ck_sites_register_precision_m
            CHECK (register_precision_m IN (1, 10, 100, 1000, 10000))
    """,
    "ALTER TABLE webhook_endpoints ADD COLUMN recipient text",
    # When a box moved to its site; null if it never moved. Its earlier samples are no open data of this site:
    # they may come from somebody's office.
    "ALTER TABLE boxes ADD COLUMN came_at timestamptz",
    # A deleted site remains in the history as long as its organisation exists.
    """
    CREATE TABLE register_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        site_id uuid NOT NULL,
        site_name text NOT NULL,
        kind text NOT NULL,
        data jsonb NOT NULL
    )
    """,
    "CREATE INDEX ix_register_changes_site_id ON register_changes (site_id, id)",
    "CREATE INDEX ix_register_changes_organisation_id ON register_changes (organisation_id)",
)
# The middle of the cell, in degrees. A degree of latitude is 111,320 m. A degree of longitude is computed at
# the middle of its degree of latitude, so that finer grids nest in coarser ones: two published cells of a
# place reveal no more than the finer one.
_CELL: Final = """
CREATE FUNCTION register_cell(longitude float8, latitude float8, metres integer) RETURNS point
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT point(
        round((least(floor((longitude + 180) / x) * x + x / 2, 360) - 180)::numeric, 6),
        round((least(floor((latitude + 90) / y) * y + y / 2, 180) - 90)::numeric, 6))
    FROM (
        SELECT metres / 111320.0::float8 AS y,
            metres / 111320.0::float8
                / cos(radians(least(floor(abs(latitude)), 88) + 0.5)) AS x
    ) step
$$
"""
_CAME: Final = """
CREATE FUNCTION register_came() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.came_at := clock_timestamp();
    RETURN NEW;
END $$
"""
_COMES: Final = """
CREATE TRIGGER register_came BEFORE UPDATE OF site_id ON boxes FOR EACH ROW
WHEN (NEW.site_id <> OLD.site_id) EXECUTE FUNCTION register_came()
"""
_IN_FORCE: Final = (
    "(p.starts_at IS NULL OR p.starts_at <= now()) AND (p.ends_at IS NULL OR p.ends_at > now())"
    " AND (NOT p.sensitive OR p.approved_at IS NOT NULL)"
)
_OPEN: Final = (
    f"EXISTS (SELECT FROM site_purposes p WHERE p.site_id = b.site_id AND p.open_data AND {_IN_FORCE})"
)
_YEAR: Final = "now() - interval '365 days'"
_MONTH: Final = "now() - interval '30 days'"
_VIEWS: Final = {
    "public_sites": """
        SELECT s.id, o.name AS operator, s.name, s.kind, s.timezone, s.register_precision_m AS precision_m,
            (register_cell(s.longitude, s.latitude, s.register_precision_m))[0] AS longitude,
            (register_cell(s.longitude, s.latitude, s.register_precision_m))[1] AS latitude,
            s.retention_days, s.retention_purposes, s.retention_removes, s.summaries_days, s.created_at
        FROM sites s JOIN organisations o ON o.id = s.organisation_id
        WHERE EXISTS (SELECT FROM boxes b WHERE b.site_id = s.id AND b.deleted_at IS NULL)
    """,
    "public_boxes": """
        SELECT left(encode(sha256(convert_to('vigie register ' || b.key || ' '
                || extract(epoch FROM b.created_at), 'UTF8')), 'hex'), 12) AS id,
            b.site_id, b.created_at::date AS since,
            (register_cell(b.longitude, b.latitude, s.register_precision_m))[0] AS longitude,
            (register_cell(b.longitude, b.latitude, s.register_precision_m))[1] AS latitude
        FROM boxes b JOIN sites s ON s.id = b.site_id WHERE b.deleted_at IS NULL
    """,
    "public_purposes": f"""
        SELECT p.site_id, p.purpose, p.sensitive, p.legal_basis, p.legal_reference, p.controller, p.contact,
            p.impact_assessment, p.notice, p.description, p.description_fr, p.open_data, p.starts_at,
            p.ends_at, p.declared_at, p.approved_at, ({_IN_FORCE}) IS TRUE AS in_force
        FROM site_purposes p
    """,  # noqa: S608 (constants)
    "public_recipients": """
        SELECT DISTINCT s.id AS site_id, e.kind, e.recipient
        FROM webhook_endpoints e JOIN sites s ON s.organisation_id = e.organisation_id
            AND (e.site_ids IS NULL OR s.id = ANY (e.site_ids))
        WHERE e.enabled
    """,
    "public_alerts": f"""
        SELECT a.site_id, a.severity, count(*) AS year,
            count(*) FILTER (WHERE a.started_at > {_MONTH}) AS month
        FROM alerts a WHERE NOT a.dry_run AND a.started_at > {_YEAR} GROUP BY a.site_id, a.severity
    """,  # noqa: S608 (constants)
    # Sites that recognise shots, or did. Incidents that the program withdrew do not count. Days after the end
    # of the purpose do not count either: otherwise the daily mean of an ended purpose would decrease.
    "public_incidents": f"""
        SELECT p.site_id, count(i.id) AS year, count(i.id) FILTER (WHERE i.detected_at > {_MONTH}) AS month,
            count(i.id) FILTER (WHERE i.state = 'confirmed') AS confirmed,
            count(i.id) FILTER (WHERE i.state = 'dismissed') AS dismissed,
            (extract(epoch FROM least(now(), min(p.ends_at)) - greatest(min(p.starts_at), {_YEAR}))
                / 86400)::float8 AS days
        FROM site_purposes p LEFT JOIN incidents i ON i.site_id = p.site_id AND i.detected_at > {_YEAR}
            AND i.reviewed_kind IS DISTINCT FROM 'system'
        WHERE p.purpose = 'acoustic_safety' AND p.starts_at <= now() GROUP BY p.site_id
    """,  # noqa: S608 (constants)
    # `site_id` is null where the site of a refusal was unknown.
    "public_refusals": f"""
        SELECT r.site_id, r.code, r.purpose, sum(r.refused)::bigint AS year,
            coalesce(sum(r.refused) FILTER (WHERE r.day > ({_MONTH})::date), 0)::bigint AS month
        FROM door_refusals r WHERE r.day > ({_YEAR})::date GROUP BY r.site_id, r.code, r.purpose
    """,  # noqa: S608 (constants)
    "public_hours": f"""
        SELECT b.site_id, h.metric, h.day, h.day + make_interval(hours => k.hour - 1) AS time,
            h.count[k.hour] AS count, h.mean[k.hour] AS mean
        FROM hourly h JOIN boxes b ON b.key = h.box_key AND b.deleted_at IS NULL
        CROSS JOIN generate_series(1, 24) AS k (hour)
        WHERE h.count[k.hour] > 0 AND {_OPEN}
            AND (b.came_at IS NULL OR h.day + make_interval(hours => k.hour - 1) >= b.came_at)
    """,  # noqa: S608 (constants)
    "public_days": f"""
        SELECT b.site_id, d.metric, d.day AS time, d.count, d.mean
        FROM daily d JOIN boxes b ON b.key = d.box_key AND b.deleted_at IS NULL
        WHERE {_OPEN} AND (b.came_at IS NULL OR d.day >= b.came_at)
    """,  # noqa: S608 (constants)
    # The metrics that a site measures: from roll-ups of complete hours, and from the newest values of its
    # boxes.
    "public_measured": """
        SELECT DISTINCT b.site_id, h.metric FROM hourly h
        JOIN boxes b ON b.key = h.box_key AND b.deleted_at IS NULL
        WHERE h.day > now() - interval '30 days'
            AND (b.came_at IS NULL OR h.day + interval '1 day' > b.came_at)
        UNION
        SELECT b.site_id, e.key FROM box_states s JOIN boxes b ON b.key = s.box_key AND b.deleted_at IS NULL
        CROSS JOIN jsonb_each(s.latest) AS e
        WHERE (e.value ->> 1)::bigint
            > extract(epoch FROM greatest(now() - interval '30 days', b.came_at)) * 1000000
    """,
    # Sites that are or were in the register. A site without boxes is only the operator's plan, and is not
    # shown.
    "public_changes": """
        SELECT c.id, c.at, c.site_id, c.site_name, c.kind, c.data FROM register_changes c
        WHERE EXISTS (SELECT FROM boxes b WHERE b.site_id = c.site_id) OR EXISTS (
            SELECT FROM register_changes k WHERE k.site_id = c.site_id AND k.kind LIKE 'boxes_%'
        )
    """,
}
_LOCK: Final = "LOCK TABLE sites, boxes, site_purposes, webhook_endpoints IN ACCESS EXCLUSIVE MODE"
_SITE: Final = (
    *("organisation_id", "name", "kind", "timezone", "longitude", "latitude", "retention_days"),
    *("attributes", "retention_purposes", "retention_removes", "summaries_days"),
)
_ENDPOINT: Final = (
    *("organisation_id", "kind", "format", "url", "description", "events", "site_ids", "grouping"),
    *("min_severity", "rate_per_s", "concurrency", "enabled", "disabled_reason"),
)
_HIDDEN: Final = ("secret", "former_secrets", "headers", "target")


def upgrade() -> None:
    """Create the register; its history begins with the existing sites and boxes."""
    make_roles(PUBLIC)
    op.execute(_LOCK)
    for statement in (*_TABLES, _CELL, _CAME, _COMES, *FUNCTIONS):
        op.execute(statement)
    op.execute(
        "INSERT INTO register_changes (at, organisation_id, site_id, site_name, kind, data) "
        "SELECT created_at, organisation_id, id, name, 'site_added', jsonb_build_object('kind', kind) "
        "FROM sites ORDER BY created_at, id"
    )
    for signature in SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    for name, when in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when}")
    protect("register_changes", f"{organisation_in_reach()} AND {site_in_reach()}")
    for name, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} WITH (security_barrier) AS {query}")
        grant("SELECT", name, PUBLIC)
    watch("sites", "site", (*_SITE, "register_precision_m"))
    watch("webhook_endpoints", "endpoint", (*_ENDPOINT, "recipient"), hidden=_HIDDEN, name="")


def downgrade() -> None:
    """Drop the history and the views, and revoke the role's privileges."""
    op.execute(_LOCK)
    watch("sites", "site", _SITE)
    watch("webhook_endpoints", "endpoint", _ENDPOINT, hidden=_HIDDEN, name="")
    for name in _VIEWS:
        op.execute(f"DROP VIEW {name}")
    for name, when in TRIGGERS.items():
        table = when.split(" ON ")[1].split()[0]
        op.execute(f"DROP TRIGGER {name} ON {table}")
    op.execute("DROP TRIGGER register_came ON boxes")
    for signature in (*SIGNATURES, "register_came()", "register_cell(float8, float8, integer)"):
        op.execute(f"DROP FUNCTION {signature}")
    unprotect("register_changes")
    op.execute("DROP TABLE register_changes")
    op.execute("ALTER TABLE boxes DROP COLUMN came_at")
    op.execute("ALTER TABLE webhook_endpoints DROP COLUMN recipient")
    op.execute("ALTER TABLE sites DROP COLUMN register_precision_m")
