"""Creates the views that SensorThings reads for the recipient of a grant.

They have the names and columns of the views of `migrations.open_data_views`. A transaction with the setting
`vigie.grant` puts their schema at the begin of its search path. Then they show what this grant includes: its
sites, metrics and times, positions as the middle of a cell, and of a box that moved only what it measured at
its present site. A grant that was revoked or suspended, or has expired, shows nothing.

They run with the rights of their owner, under the tenant scope of the transaction. Metrics whose purpose is
not in force have no Datastream (`sensorthings_purposes`): the program knows which metric has which purpose.
Hours that the grant includes in part are left out. The tables of roll-ups' states, which have no values, are
those of the tenant scope.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, grant
from migrations.open_data_views import ARRAYS, IN_FORCE, NUMBER, PURPOSE_COLUMNS

SCHEMA: Final = "granted_data"
_GRANT: Final = (
    "g.id = public.vigie_grant() AND g.accepted_at IS NOT NULL AND g.revoked_at IS NULL"
    " AND g.suspended_at IS NULL AND g.valid_until > now()"
)
_BOXES: Final = (
    "public.grants g JOIN public.boxes b ON b.organisation_id = g.organisation_id"
    " AND b.site_id = ANY (g.site_ids) AND b.deleted_at IS NULL"
)
_FROM: Final = "coalesce(greatest(b.came_at, g.covers_from), '-infinity')"
_UNTIL: Final = "coalesce(g.covers_until, 'infinity')"
_PLACE: Final = "coalesce(b.longitude, s.longitude), coalesce(b.latitude, s.latitude)"


def _coordinate(place: int, name: str) -> str:
    """SQL: a coordinate of a box; of the middle of its cell, if the grant has a precision."""
    cell = f"(public.register_cell({_PLACE}, g.precision_m))[{place}]"
    return f"CASE WHEN g.precision_m IS NULL THEN coalesce(b.{name}, s.{name}) ELSE {cell} END AS {name}"


def _whole_hours(name: str) -> str:
    """SQL: the hours of an array that the grant includes whole."""
    return (
        f"CASE WHEN h.day >= {_FROM} AND h.day + interval '1 day' <= {_UNTIL} THEN h.{name} ELSE ("  # noqa: S608 (constants)
        f"SELECT array_agg(CASE WHEN h.day + (n - 1) * interval '1 hour' >= {_FROM}"
        f" AND h.day + n * interval '1 hour' <= {_UNTIL} THEN v END ORDER BY n)"
        f" FROM unnest(h.{name}) WITH ORDINALITY AS u (v, n)) END AS {name}"
    )


_SAMPLES: Final = f"""
SELECT s.* FROM {_BOXES} JOIN public.samples s ON s.box_key = b.key
WHERE {_GRANT} AND s.time >= {_FROM} AND s.time < {_UNTIL}
"""  # noqa: S608 (constants)
_MICROS: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
_MOST_MARKED: Final = 24
_ROLLED_DAYS: Final = 2
# Roll-ups of the last day may have values after the grant's end alone, so that the day before is read too.
_HOURS: Final = f"""
SELECT date_trunc('hour', g.covers_until - interval '1 microsecond', 'UTC') AS hour
UNION
(
    SELECT m.hour FROM public.rollup_marks m
    WHERE m.box_key = b.key AND m.hour < g.covers_until AND m.hour + interval '1 hour' > {_FROM}
    ORDER BY m.hour DESC LIMIT {_MOST_MARKED}
)
UNION
SELECT d.day + (u.n - 1) * interval '1 hour' FROM (
    SELECT h.day, h.count FROM public.hourly h
    WHERE h.box_key = b.key AND h.metric = e.key AND 0 < ANY (h.count)
        AND h.day < g.covers_until AND h.day + interval '1 day' > {_FROM}
    ORDER BY h.day DESC LIMIT {_ROLLED_DAYS}
) d, unnest(d.count) WITH ORDINALITY AS u (count, n)
WHERE u.count > 0 AND d.day + (u.n - 1) * interval '1 hour' < g.covers_until
ORDER BY hour DESC
"""  # noqa: S608 (constants)
VIEWS: Final = {
    "sensorthings_boxes": f"""
        SELECT b.key, {NUMBER}, b.id AS box, b.name, b.kind, NULL::text AS firmware, b.interval_s,
            b.site_id, s.name AS site, s.kind AS site_kind, s.timezone, NULL::text AS address,
            s.open_data_licence AS licence, o.name AS operator,
            {_coordinate(0, "longitude")}, {_coordinate(1, "latitude")}, g.precision_m,
            date_trunc('day', greatest(b.created_at, b.came_at), 'UTC') AS located_at, b.erased,
            greatest(b.came_at, g.covers_from) AS shown_from, g.covers_until AS shown_until
        FROM {_BOXES} JOIN public.sites s ON s.id = b.site_id
        LEFT JOIN public.organisations o ON o.id = b.organisation_id
        WHERE {_GRANT}
    """,  # noqa: S608 (constants)
    # The newest value of a box may be later than the grant includes: then the newest one before is searched.
    # Each hour that may have it is read, the newest first: the last one, those whose roll-up is not computed
    # yet, and those that have values in the newest days of roll-ups.
    "sensorthings_series": f"""
        SELECT st.box_key, e.key AS metric, v.value, v.newest_us, coalesce(st.newest_us, -1) AS state_us
        FROM {_BOXES} JOIN public.box_states st ON st.box_key = b.key
        CROSS JOIN LATERAL jsonb_each(st.latest) AS e
        CROSS JOIN LATERAL (
            SELECT (e.value ->> 0)::float8 AS value, (e.value ->> 1)::bigint AS newest_us
            WHERE g.covers_until IS NULL OR (e.value ->> 1)::bigint < {_MICROS.format("g.covers_until")}
            UNION ALL
            SELECT l.value, l.newest_us FROM (
                SELECT l.value, l.newest_us FROM ({_HOURS}) AS c CROSS JOIN LATERAL (
                    SELECT (to_jsonb(x) ->> e.key)::float8 AS value, {_MICROS.format("x.time")} AS newest_us
                    FROM public.samples x WHERE x.box_key = b.key
                        AND x.time >= greatest(c.hour, {_FROM})
                        AND x.time < least(c.hour + interval '1 hour', g.covers_until)
                        AND to_jsonb(x) ->> e.key IS NOT NULL
                    ORDER BY x.time DESC LIMIT 1
                ) l
                ORDER BY c.hour DESC LIMIT 1
            ) l
            WHERE (e.value ->> 1)::bigint >= {_MICROS.format("g.covers_until")}
        ) v
        WHERE {_GRANT} AND e.key = ANY (g.metrics)
            AND (greatest(b.came_at, g.covers_from) IS NULL
                OR v.newest_us >= {_MICROS.format("greatest(b.came_at, g.covers_from)")})
    """,  # noqa: S608 (constants)
    "sensorthings_purposes": f"""
        SELECT {PURPOSE_COLUMNS}, NULL::timestamptz AS shown_from
        FROM public.grants g JOIN public.site_purposes p ON p.site_id = ANY (g.site_ids)
        WHERE {_GRANT} AND {IN_FORCE}
    """,  # noqa: S608 (constants)
    "tenant_samples": _SAMPLES,
    "tenant_hourly": f"""
        SELECT h.box_key, h.metric, h.day, {", ".join(map(_whole_hours, ARRAYS))}
        FROM {_BOXES} JOIN public.hourly h ON h.box_key = b.key AND h.metric = ANY (g.metrics)
        WHERE {_GRANT} AND h.day + interval '1 day' > {_FROM} AND h.day < {_UNTIL}
    """,  # noqa: S608 (constants)
}
"""The views of the schema `granted_data`."""


def make_granted_views() -> None:
    """Create the schema and its views."""
    op.execute(f"CREATE SCHEMA {SCHEMA}")
    op.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {API}")
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {SCHEMA}.{name} WITH (security_barrier) AS {query}")
        grant("SELECT", f"{SCHEMA}.{name}", API)


def renew_granted_views() -> None:
    """Add new columns of `samples` to the view of granted samples, if it exists."""
    view = f"{SCHEMA}.tenant_samples"
    if op.get_bind().exec_driver_sql(f"SELECT to_regclass('{view}')").scalar() is not None:
        op.execute(f"CREATE OR REPLACE VIEW {view} WITH (security_barrier) AS {_SAMPLES}")
