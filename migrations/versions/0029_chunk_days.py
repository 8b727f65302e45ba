"""Retains chunks until the roll-ups of all local days in them are complete.

A day's roll-up is computed from its samples. A local day that begins in one chunk and has a stale mark in the
next one needs the samples of both. So a box's samples may be removed up to the start of the local day of its
first mark; before, it was up to the mark.
"""

from typing import Final

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_UNTIL: Final = """
CREATE OR REPLACE FUNCTION retention_until() RETURNS TABLE (key integer, until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT b.key, CASE
        WHEN s.retention_removes AND s.retention_days IS NOT NULL AND days.ever IS NOT TRUE
            AND b.deleted_at IS NULL AND r.box_key IS NOT NULL
        THEN least({first},
            date_trunc('day', (now() - make_interval(hours => 24 * days.most)) AT TIME ZONE s.timezone)
                AT TIME ZONE s.timezone,
            r.backfill_next,
            (SELECT min(m.hour) FROM rollup_marks m WHERE m.box_key = b.key),
            (SELECT min(m.day) FROM rollup_day_marks m WHERE m.box_key = b.key))
        ELSE '-infinity' END
    FROM sites s
    CROSS JOIN LATERAL (
        SELECT greatest(s.retention_days, max(e.value::integer)) AS most, bool_or(e.value IS NULL) AS ever
        FROM jsonb_each_text(s.retention_purposes) e
    ) days
    JOIN boxes b ON b.site_id = s.id
    LEFT JOIN rollup_states r ON r.box_key = b.key AND r.timezone = s.timezone
$$
"""
# The function is also called by `retention_drop`: it changes no row and takes no lock.
_DAY: Final = """
            date_trunc('day', least(
                r.backfill_next, (SELECT min(m.hour) FROM rollup_marks m WHERE m.box_key = b.key)
            ) AT TIME ZONE s.timezone) AT TIME ZONE s.timezone"""
_NONE: Final = "NULL::timestamptz"


def upgrade() -> None:
    """Retain the samples of a local day until its roll-up is complete."""
    op.execute(_UNTIL.format(first=_DAY))


def downgrade() -> None:
    """Retain samples only from the first mark on."""
    op.execute(_UNTIL.format(first=_NONE))
