"""Creates the view through which the public register reads the samples of the last day.

It has one row per box, with arrays of times and of the values of each metric. It contains only the newest
samples of each box, and only sites with a purpose in force whose data the operator publishes. The program
decides which metrics are open, as it does for roll-ups.

A view's columns are fixed at its creation, so a migration that adds a metric creates it again.
"""

from typing import Final

from alembic import op

from app.catalogue.metrics import CATALOGUE
from migrations.isolation import PUBLIC, grant

_NAME: Final = "public_recent"
_MOST: Final = 20_000
# One hour more than a day, because the warm-up flag depends on earlier samples. `open_data` is false for
# purposes that nobody declared (migration 0036).
_VIEW: Final = """
CREATE VIEW public_recent WITH (security_barrier) AS
SELECT b.site_id, b.kind, b.interval_s, r.*
FROM boxes b CROSS JOIN LATERAL (
    SELECT array_agg((extract(epoch FROM s.time) * 1000000)::bigint) AS times,
        {columns}
    FROM (
        SELECT * FROM (
            SELECT * FROM samples n
            WHERE n.box_key = b.key AND n.time > greatest(now() - interval '25 hours', b.came_at)
                AND n.time <= now()
            ORDER BY n.time DESC LIMIT {most}
        ) newest ORDER BY newest.time
    ) s
) r
WHERE b.deleted_at IS NULL AND r.times IS NOT NULL AND EXISTS (
    SELECT FROM site_purposes p WHERE p.site_id = b.site_id AND p.open_data AND {in_force}
)
"""
_IN_FORCE: Final = (
    "(p.starts_at IS NULL OR p.starts_at <= now()) AND (p.ends_at IS NULL OR p.ends_at > now())"
    " AND (NOT p.sensitive OR p.approved_at IS NOT NULL)"
)
_COLUMNS: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = 'samples'::regclass AND attnum > 0 AND NOT attisdropped
"""
DROP_VIEW: Final = f"DROP VIEW IF EXISTS {_NAME}"


def make_recent_view() -> None:
    """Create the view with the metrics that have a column in `samples`."""
    there = set(op.get_bind().exec_driver_sql(_COLUMNS).scalars())
    names = [metric.name for metric in CATALOGUE if metric.name in there]
    columns = ", ".join(f'array_agg(s."{name}") AS "{name}"' for name in names)
    op.execute(DROP_VIEW)
    op.execute(_VIEW.format(columns=columns, most=_MOST, in_force=_IN_FORCE))
    grant("SELECT", _NAME, PUBLIC)


def renew_recent_view() -> None:
    """Create the view again with new columns of the table, if it exists."""
    if op.get_bind().exec_driver_sql(f"SELECT to_regclass('{_NAME}')").scalar() is not None:
        make_recent_view()
