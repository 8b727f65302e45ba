"""Adds the folded texts that `GET /v1/search` compares, and the schedules of mailed reports.

`search_text` of sites, boxes and rules has their names in lower case and without accents, each word after a
space and each name after `| `. PostgreSQL computes it when a name changes, so that a search folds its query
only.

A row of `report_runs` is one mail of a schedule: for one period by its schedule, or at a person's request. A
unique index lets a schedule have one row for each period. Its id determines the `Message-ID`, so that a mail
that is sent again after a crash is the same message.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import (
    API,
    MAINTAIN,
    grant,
    open_to,
    organisation_in_reach,
    protect,
    site_in_reach,
)

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE sites, boxes, rules IN ACCESS EXCLUSIVE MODE"
# The explicit collation: with the locale C, lower() and the classes of regular expressions know ASCII only.
_FOLD: Final = r"""
CREATE FUNCTION fold_search_text(texts text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(string_agg('| ' || words || ' ', '' ORDER BY position), '')
    FROM (
        SELECT position, btrim(regexp_replace(
            replace(replace(replace(translate(
                regexp_replace(
                    lower(normalize(part, NFKD) COLLATE "und-x-icu"), '[\u0300-\u036f]', '', 'g'
                ),
                'øłđħı', 'oldhi'), 'œ', 'oe'), 'æ', 'ae'), 'ß', 'ss'),
            '[^[:alnum:]]+', ' ', 'g'
        )) AS words
        FROM unnest(texts) WITH ORDINALITY AS given (part, position)
        WHERE part IS NOT NULL
    ) AS folded
    WHERE words <> ''
)
"""
_TEXTS: Final = {
    "sites": "ARRAY[name, address]",
    "boxes": "ARRAY[id, name] || tags",
    "rules": "ARRAY[name]",
}
_SCHEDULES: Final = """
CREATE TABLE report_schedules (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    report text NOT NULL CHECK (report IN ('day', 'week', 'month')),
    hour smallint NOT NULL CHECK (hour BETWEEN 0 AND 23),
    recipients text[] NOT NULL CHECK (cardinality(recipients) > 0),
    formats text[] NOT NULL CHECK (cardinality(formats) > 0 AND formats <@ ARRAY['pdf', 'csv']),
    language text NOT NULL CHECK (language IN ('en', 'fr')),
    alerts boolean NOT NULL,
    enabled boolean NOT NULL,
    next_at timestamptz NOT NULL,
    last_sent_at timestamptz,
    last_error text,
    created_by uuid,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
"""
_RUNS: Final = """
CREATE TABLE report_runs (
    id uuid PRIMARY KEY,
    schedule_id uuid NOT NULL REFERENCES report_schedules ON DELETE CASCADE,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    report text NOT NULL CHECK (report IN ('day', 'week', 'month')),
    first_day date NOT NULL,
    last_day date NOT NULL,
    requested boolean NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz,
    error text,
    status integer,
    answer text,
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    CHECK ((state = 'pending') = (due_at IS NOT NULL))
)
"""
_INDEXES: Final = (
    "CREATE INDEX ix_report_schedules_organisation_id ON report_schedules (organisation_id, id)",
    "CREATE INDEX ix_report_schedules_site_id ON report_schedules (site_id)",
    "CREATE INDEX ix_report_schedules_next_at ON report_schedules (next_at) WHERE enabled",
    """
    CREATE UNIQUE INDEX uq_report_runs_period ON report_runs (schedule_id, report, first_day)
    WHERE NOT requested
    """,
    "CREATE INDEX ix_report_runs_schedule_id ON report_runs (schedule_id, id)",
    "CREATE INDEX ix_report_runs_site_id ON report_runs (site_id)",
    "CREATE INDEX ix_report_runs_due_at ON report_runs (due_at) WHERE state = 'pending'",
)
_TABLES: Final = ("report_schedules", "report_runs")


def _create_schedules() -> None:
    for statement in (_SCHEDULES, _RUNS, *_INDEXES):
        op.execute(statement)
    for table in _TABLES:
        protect(table, f"{organisation_in_reach()} AND {site_in_reach()}")
        open_to(table, (MAINTAIN,))
        grant("SELECT, INSERT, UPDATE, DELETE", table, API)
    grant("SELECT, UPDATE (next_at, last_sent_at, last_error)", "report_schedules", MAINTAIN)
    grant("SELECT, INSERT, UPDATE, DELETE", "report_runs", MAINTAIN)
    recorded = ("organisation_id", "site_id", "report", "hour", "formats", "language", "alerts", "enabled")
    watch("report_schedules", "report_schedule", recorded, hidden=("recipients",), name="")


def upgrade() -> None:
    """Create the function, add the columns, and create the tables of schedules."""
    op.execute(_LOCK)
    op.execute(_FOLD)
    for table, texts in _TEXTS.items():
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN search_text text NOT NULL "
            f"GENERATED ALWAYS AS (fold_search_text({texts})) STORED"
        )
    _create_schedules()


def downgrade() -> None:
    """Drop the columns and the function, and the schedules with them."""
    op.execute(_LOCK)
    unwatch("report_schedules")
    for table in reversed(_TABLES):
        op.execute(f"DROP TABLE {table}")
    for table in _TEXTS:
        op.execute(f"ALTER TABLE {table} DROP COLUMN search_text")
    op.execute("DROP FUNCTION fold_search_text(text[])")
