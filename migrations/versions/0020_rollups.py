"""Creates roll-ups of hours and local days, and stale marks.

A row has the 24 hours of a day (UTC): a year of a metric is 365 complete rows, instead of 8,760 rows on as
many pages. The maintain role summarises existing samples later, box by box (`rollup_states`); until then
queries read the samples.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, INGEST, MAINTAIN, grant, open_to, protect, unprotect

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_HOURLY: Final = """
CREATE TABLE hourly (
    day timestamptz NOT NULL,
    box_key integer NOT NULL,
    metric text COLLATE "C" NOT NULL,
    count integer[] NOT NULL,
    mean double precision[] NOT NULL,
    min double precision[] NOT NULL,
    max double precision[] NOT NULL,
    p10 real[] NOT NULL,
    p50 real[] NOT NULL,
    p90 real[] NOT NULL,
    p95 real[] NOT NULL,
    PRIMARY KEY (box_key, metric, day)
);
SELECT create_hypertable('hourly', by_range('day', INTERVAL '364 days'), create_default_indexes => false);
"""
_DAILY: Final = """
CREATE TABLE daily (
    day timestamptz NOT NULL,
    box_key integer NOT NULL,
    count integer NOT NULL,
    metric text COLLATE "C" NOT NULL,
    mean double precision NOT NULL,
    min double precision NOT NULL,
    max double precision NOT NULL,
    p10 real NOT NULL,
    p50 real NOT NULL,
    p90 real NOT NULL,
    p95 real NOT NULL,
    PRIMARY KEY (box_key, metric, day)
);
SELECT create_hypertable('daily', by_range('day', INTERVAL '1820 days'), create_default_indexes => false);
"""
# No foreign key: it would lock a row of `boxes` for each mark that the consumer writes.
_MARKS: Final = """
CREATE TABLE rollup_marks (
    box_key integer NOT NULL,
    hour timestamptz NOT NULL,
    epoch bigint NOT NULL,
    PRIMARY KEY (box_key, hour)
);
CREATE INDEX ix_rollup_marks_hour ON rollup_marks (hour, box_key);

CREATE TABLE rollup_day_marks (
    box_key integer NOT NULL REFERENCES boxes ON DELETE CASCADE,
    day timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (box_key, day)
);
CREATE INDEX ix_rollup_day_marks_until ON rollup_day_marks (until, box_key);

CREATE TABLE rollup_states (
    box_key integer PRIMARY KEY REFERENCES boxes ON DELETE CASCADE,
    timezone text NOT NULL,
    backfill_from timestamptz,
    backfill_next timestamptz,
    backfill_until timestamptz,
    CHECK ((backfill_from IS NULL) = (backfill_next IS NULL)
           AND (backfill_from IS NULL) = (backfill_until IS NULL))
);
CREATE INDEX ix_rollup_states_backfill ON rollup_states (box_key) WHERE backfill_next IS NOT NULL;

ALTER TABLE registry ADD COLUMN marks_epoch bigint NOT NULL DEFAULT 0;
"""
_FUNCTIONS: Final = (
    """
    CREATE FUNCTION vigie_spread(hours integer[], given anyarray) RETURNS anyarray
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE made ALIAS FOR $0;
    BEGIN
        made := array_fill(NULL::text, '{24}');
        FOR i IN 1..cardinality(hours) LOOP made[hours[i]] := given[i]; END LOOP;
        RETURN made;
    END $$
    """,
    # Of two summaries of an hour the newer one wins, unless it has fewer samples, because some were removed.
    """
    CREATE FUNCTION vigie_overlay(old anyarray, new anyarray, old_count integer[], new_count integer[])
    RETURNS anyarray LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        FOR i IN 1..24 LOOP
            IF new_count[i] >= coalesce(old_count[i], 0) THEN old[i] := new[i]; END IF;
        END LOOP;
        RETURN old;
    END $$
    """,
)
# As for samples: a hypertable's policies do not apply to its chunks.
_VIEW: Final = """
CREATE VIEW tenant_{table} WITH (security_barrier) AS
SELECT s.* FROM {table} s
WHERE (SELECT vigie_reaches_all()) OR EXISTS (SELECT FROM boxes b WHERE b.key = s.box_key)
"""
_THROUGH: Final = "((SELECT vigie_reaches_all()) OR EXISTS (SELECT FROM boxes b WHERE b.key = box_key))"
_PROTECTED: Final = {
    "rollup_marks": (INGEST, MAINTAIN),
    "rollup_day_marks": (MAINTAIN,),
    "rollup_states": (MAINTAIN,),
}
_BEGIN: Final = """
INSERT INTO rollup_states (box_key, timezone, backfill_from, backfill_next, backfill_until)
SELECT b.key, s.timezone, f.hour, f.hour, l.hour + interval '1 hour'
FROM boxes b JOIN sites s ON s.id = b.site_id,
LATERAL (SELECT date_trunc('hour', time, 'UTC') AS hour FROM samples WHERE box_key = b.key
         ORDER BY time LIMIT 1) f,
LATERAL (SELECT date_trunc('hour', time, 'UTC') AS hour FROM samples WHERE box_key = b.key
         ORDER BY time DESC LIMIT 1) l
"""


def upgrade() -> None:
    """Create the tables, and queue all boxes for summarising."""
    for statement in (*f"{_HOURLY};{_DAILY};{_MARKS}".split(";"), *_FUNCTIONS):
        if statement.strip():
            op.execute(statement)
    op.execute(_BEGIN)
    for table, roles in _PROTECTED.items():
        protect(table, _THROUGH)
        open_to(table, roles)
    for table in ("hourly", "daily"):
        op.execute(_VIEW.format(table=table))
        grant("SELECT", f"tenant_{table}", API)
        grant("SELECT, INSERT, UPDATE, DELETE", table, MAINTAIN)
    grant("SELECT", "rollup_marks, rollup_day_marks", API)
    grant("SELECT, INSERT, UPDATE, DELETE", "rollup_states", API, MAINTAIN)
    grant("SELECT, INSERT, UPDATE", "rollup_marks", INGEST)
    grant("SELECT, UPDATE, DELETE", "rollup_marks", MAINTAIN)
    grant("SELECT, INSERT, DELETE", "rollup_day_marks", MAINTAIN)
    grant("SELECT (marks_epoch), UPDATE (marks_epoch)", "registry", MAINTAIN)


def downgrade() -> None:
    """Drop the roll-ups, which can be computed from the samples again."""
    for table in _PROTECTED:
        unprotect(table)
    op.execute("DROP VIEW tenant_hourly, tenant_daily")
    for table in ("hourly", "daily", "rollup_marks", "rollup_day_marks", "rollup_states"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION vigie_spread, vigie_overlay")
    op.execute("ALTER TABLE registry DROP COLUMN marks_epoch")
