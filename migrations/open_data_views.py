"""Creates the views that SensorThings reads: one set for the tenant scope, one for open data.

A third set is for the recipients of grants (`migrations.granted_views`). All have the same names and columns.
Callers with a key read those of the schema `public`, under row-level security. Anonymous callers read
those of the schema `open_data` under the role `vigie_public`, whose search path begins there. So a statement
written once shows each of them what they may see, and an anonymous one cannot name anything else.

The views of open data have no id, name, kind and firmware of a box, and places as the middle of a cell. They
contain values of sites with a purpose in force whose data the operator publishes, and of a box that moved
only what it measured at its present site. Their boxes are all those of the public register. The program
decides which metrics belong to which purpose.

A view's columns are fixed at its creation, so a migration that adds a metric creates `tenant_samples` again.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, PUBLIC, grant

SCHEMA: Final = "open_data"
IN_FORCE: Final = (
    "(p.starts_at IS NULL OR p.starts_at <= now()) AND (p.ends_at IS NULL OR p.ends_at > now())"
    " AND (NOT p.sensitive OR p.approved_at IS NOT NULL)"
)
_OPEN: Final = (
    "b.deleted_at IS NULL AND EXISTS (SELECT FROM public.site_purposes p "
    f"WHERE p.site_id = b.site_id AND p.open_data AND {IN_FORCE})"
)
_HERE: Final = "(b.came_at IS NULL OR {} >= b.came_at)"
_CELL: Final = (
    "public.register_cell(coalesce(b.longitude, s.longitude), coalesce(b.latitude, s.latitude),"
    " s.register_precision_m)"
)
_SITE: Final = (
    "b.site_id, s.name AS site, s.kind AS site_kind, s.timezone, s.address, s.open_data_licence AS licence,"
    " o.name AS operator"
)
_FROM_BOXES: Final = (
    "FROM public.boxes b JOIN public.sites s ON s.id = b.site_id"
    " LEFT JOIN public.organisations o ON o.id = b.organisation_id WHERE b.deleted_at IS NULL"
)
NUMBER: Final = "b.register_number AS number"
_LATEST: Final = (
    "st.box_key, e.key AS metric, (e.value ->> 0)::float8 AS value, (e.value ->> 1)::bigint AS newest_us,"
    " coalesce(st.newest_us, -1) AS state_us"
)
PURPOSE_COLUMNS: Final = (
    "p.site_id, p.purpose, p.legal_basis, p.legal_reference, p.controller, p.contact, p.notice,"
    " p.description, p.open_data, p.starts_at, p.ends_at"
)
# The first time whose values are shown, and the end of these times; null: no limit.
_SHOWN: Final = "{}::timestamptz AS shown_from, NULL::timestamptz AS shown_until"
_BOX_OF: Final = "JOIN public.boxes b ON b.key = {}.box_key AND " + _OPEN
ARRAYS: Final = ("count", "mean", "min", "max", "p10", "p50", "p90", "p95")


def _hours_here(name: str) -> str:
    """SQL: the hours of an array that begin after the box came to its site."""
    return (
        f"CASE WHEN {_HERE.format('h.day')} THEN h.{name} ELSE (SELECT array_agg(CASE WHEN h.day + (n - 1) * "  # noqa: S608 (constants)
        f"interval '1 hour' >= b.came_at THEN v END ORDER BY n) "
        f"FROM unnest(h.{name}) WITH ORDINALITY AS u (v, n)) END AS {name}"
    )


# The register's number of a box (view `public_boxes`), in a form that a column can have: the epoch of an
# instant does not depend on the session's time zone.
NUMBER_FUNCTION: Final = """
CREATE FUNCTION register_number(key integer, created_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT left(encode(sha256(convert_to('vigie register ' || key || ' '
        || extract(epoch FROM created_at), 'UTF8')), 'hex'), 12)
$$
"""
TENANT_VIEWS: Final = {
    "sensorthings_boxes": f"""
        SELECT b.key, {NUMBER}, b.id AS box, b.name, b.kind, b.firmware, b.interval_s, {_SITE},
            coalesce(b.longitude, s.longitude) AS longitude, coalesce(b.latitude, s.latitude) AS latitude,
            NULL::integer AS precision_m, greatest(b.created_at, b.came_at) AS located_at, b.erased,
            {_SHOWN.format("NULL")}
        {_FROM_BOXES}
    """,
    "sensorthings_series": f"""
        SELECT {_LATEST} FROM public.box_states st CROSS JOIN LATERAL jsonb_each(st.latest) AS e
    """,  # noqa: S608 (constants)
    "sensorthings_purposes": f"""
        SELECT {PURPOSE_COLUMNS}, NULL::timestamptz AS shown_from FROM public.site_purposes p WHERE {IN_FORCE}
    """,  # noqa: S608 (constants)
}
"""Views of the tenant scope: with `security_invoker` the policies of their reader apply."""
_OPEN_SAMPLES: Final = f"""
SELECT s.* FROM public.boxes b JOIN public.samples s ON s.box_key = b.key
WHERE {_OPEN} AND {_HERE.format("s.time")}
"""  # noqa: S608 (constants)
_OPEN_VIEWS: Final = {
    "sensorthings_boxes": f"""
        SELECT b.key, {NUMBER}, NULL::text AS box, NULL::text AS name, NULL::text AS kind,
            NULL::text AS firmware, b.interval_s, {_SITE},
            ({_CELL})[0] AS longitude, ({_CELL})[1] AS latitude, s.register_precision_m AS precision_m,
            date_trunc('day', greatest(b.created_at, b.came_at), 'UTC') AS located_at, b.erased,
            {_SHOWN.format("b.came_at")}
        {_FROM_BOXES}
    """,
    "sensorthings_series": f"""
        SELECT {_LATEST} FROM public.box_states st {_BOX_OF.format("st")}
        CROSS JOIN LATERAL jsonb_each(st.latest) AS e
        WHERE b.came_at IS NULL OR (e.value ->> 1)::bigint >= extract(epoch FROM b.came_at) * 1000000
    """,  # noqa: S608 (constants)
    "sensorthings_purposes": f"""
        SELECT {PURPOSE_COLUMNS}, p.starts_at AS shown_from FROM public.site_purposes p
        WHERE p.open_data AND {IN_FORCE}
    """,  # noqa: S608 (constants)
    "tenant_samples": _OPEN_SAMPLES,
    "tenant_hourly": f"""
        SELECT h.box_key, h.metric, h.day, {", ".join(map(_hours_here, ARRAYS))}
        FROM public.hourly h {_BOX_OF.format("h")}
        WHERE {_HERE.format("h.day + interval '1 day'")}
    """,  # noqa: S608 (constants)
    "rollup_marks": f"SELECT m.box_key, m.hour FROM public.rollup_marks m {_BOX_OF.format('m')}",  # noqa: S608 (constants)
    "rollup_day_marks": f"""
        SELECT m.box_key, m.day, m.until FROM public.rollup_day_marks m {_BOX_OF.format("m")}
    """,  # noqa: S608 (constants)
    "rollup_states": f"""
        SELECT r.box_key, r.timezone, r.backfill_from, r.backfill_next, r.backfill_until
        FROM public.rollup_states r {_BOX_OF.format("r")}
    """,  # noqa: S608 (constants)
    "retention_states": f"""
        SELECT r.box_key, r.purpose, r.removed_until FROM public.retention_states r {_BOX_OF.format("r")}
    """,  # noqa: S608 (constants)
}
_PLACE: Final = (
    "s.id AS site_id, s.name AS site, s.kind AS site_kind, s.timezone, s.address,"
    " s.open_data_licence AS licence, o.name AS operator"
)
_SITE_CELL: Final = "public.register_cell(s.longitude, s.latitude, s.register_precision_m)"
_FROM_SITES: Final = "FROM public.sites s LEFT JOIN public.organisations o ON o.id = s.organisation_id"
SITES: Final = "sensorthings_sites"
"""A view of sites with their places, in both sets (migration 0058)."""
_TENANT_SITES: Final = f"""
SELECT {_PLACE}, s.longitude, s.latitude, NULL::integer AS precision_m, s.created_at AS located_at
{_FROM_SITES}
"""
_OPEN_SITES: Final = f"""
SELECT {_PLACE}, ({_SITE_CELL})[0] AS longitude, ({_SITE_CELL})[1] AS latitude,
    s.register_precision_m AS precision_m, date_trunc('day', s.created_at, 'UTC') AS located_at
{_FROM_SITES}
WHERE EXISTS (SELECT FROM public.boxes b WHERE b.site_id = s.id AND b.deleted_at IS NULL)
"""  # noqa: S608 (constants)


def make_site_views() -> None:
    """Create the views of sites."""
    op.execute(f"CREATE VIEW {SITES} WITH (security_invoker) AS {_TENANT_SITES}")
    grant("SELECT", SITES, API)
    op.execute(f"CREATE VIEW {SCHEMA}.{SITES} WITH (security_barrier) AS {_OPEN_SITES}")
    grant("SELECT", f"{SCHEMA}.{SITES}", PUBLIC)


def make_open_data_views() -> None:
    """Create both sets of views, or add new columns to them."""
    for name, query in TENANT_VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW {name} WITH (security_invoker) AS {query}")
        grant("SELECT", name, API)
    op.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    op.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {PUBLIC}")
    for name, query in _OPEN_VIEWS.items():
        op.execute(f"CREATE OR REPLACE VIEW {SCHEMA}.{name} WITH (security_barrier) AS {query}")
        grant("SELECT", f"{SCHEMA}.{name}", PUBLIC)


def renew_open_data_views() -> None:
    """Add new columns of `samples` to the view of open data, if it exists."""
    view = f"{SCHEMA}.tenant_samples"
    if op.get_bind().exec_driver_sql(f"SELECT to_regclass('{view}')").scalar() is not None:
        op.execute(f"CREATE OR REPLACE VIEW {view} WITH (security_barrier) AS {_OPEN_SAMPLES}")
