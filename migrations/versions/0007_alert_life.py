"""Adds timelines, silences, inhibitions, and alerts of whole sites.

An alert of a rule on a whole site has no box, and an alert caused by an event or by silence has no value or
threshold: these columns may be empty from now on. Timelines of earlier alerts are filled as far as known.

The downgrade deletes alerts without a box, metric, value or threshold, alerts of dry runs, and all timelines,
silences and inhibitions. It logs the number of deleted alerts. A muted alert that is still firing stays: its
end will be delivered, although its beginning was not.
"""

from alembic import op
from sqlalchemy import text

from app.platform.observability.metrics_and_logs import get_logger

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_log = get_logger(__name__)
_OPTIONAL = ("box_key", "box", "metric", "value", "threshold", "clear")
_ADDED = (
    "description text",
    "cause jsonb",
    "dry_run boolean NOT NULL DEFAULT false",
    "assignee text",
    "suppressed jsonb",
    # The severity that was delivered last; null if none was delivered.
    "told_severity text",
    "notified boolean NOT NULL GENERATED ALWAYS AS (told_severity IS NOT NULL) STORED",
    "escalated_to text",
    "escalated_at timestamptz",
    "escalations jsonb NOT NULL DEFAULT '[]'",
    "escalate_at timestamptz",
    "remind_us bigint",
    "remind_at timestamptz",
)
_INDEXES = (
    "CREATE UNIQUE INDEX uq_alerts_firing ON alerts (rule_id, coalesce(box_key, 0)) WHERE state = 'firing'",
    """
    CREATE INDEX ix_alerts_due ON alerts (least(escalate_at, remind_at))
    WHERE state = 'firing' AND acknowledged_at IS NULL AND suppressed IS NULL
        AND (escalate_at IS NOT NULL OR remind_at IS NOT NULL)
    """,
    "CREATE INDEX ix_alerts_suppressed ON alerts (id) WHERE state = 'firing' AND suppressed IS NOT NULL",
)
_TABLES = (
    """
    CREATE TABLE alert_timeline (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id uuid NOT NULL,
        alert_id uuid NOT NULL REFERENCES alerts ON DELETE CASCADE,
        organisation_id uuid NOT NULL,
        kind text NOT NULL,
        at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL,
        severity text,
        value double precision,
        cause jsonb,
        actor text,
        actor_key uuid,
        comment text,
        data jsonb
    )
    """,
    "CREATE INDEX ix_alert_timeline_alert_id ON alert_timeline (alert_id, position)",
    """
    CREATE TABLE silences (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        matchers jsonb NOT NULL,
        starts_at timestamptz NOT NULL,
        ends_at timestamptz,
        schedule jsonb,
        timezone text,
        window_start timestamptz,
        window_end timestamptz,
        author text NOT NULL,
        comment text NOT NULL,
        created_by uuid,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CHECK (ends_at IS NOT NULL OR schedule IS NOT NULL),
        CHECK ((schedule IS NULL) = (timezone IS NULL))
    )
    """,
    "CREATE INDEX ix_silences_organisation_id ON silences (organisation_id, id)",
    "CREATE INDEX ix_silences_ends_at ON silences ((coalesce(ends_at, 'infinity')))",
    "CREATE INDEX ix_silences_window_end ON silences (window_end) WHERE schedule IS NOT NULL",
    """
    CREATE TABLE inhibitions (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        name text NOT NULL,
        source jsonb NOT NULL,
        target jsonb NOT NULL,
        equal text[] NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX ix_inhibitions_organisation_id ON inhibitions (organisation_id, id)",
)
# Before this version a condition was one threshold: the root of a rule's only level.
_CAUSE = """
UPDATE alerts SET told_severity = severity, cause = jsonb_build_object(
    'path', 'levels/0/condition', 'function', NULL, 'window', NULL, 'event', NULL,
    'boxes', jsonb_build_array())
"""
_HISTORY = """
INSERT INTO alert_timeline
    (id, alert_id, organisation_id, kind, at, recorded_at, severity, value, cause, actor, actor_key, data)
SELECT gen_random_uuid(), alert_id, organisation_id, kind, at, recorded_at, severity, value, cause, actor,
       actor_key, data
FROM (
    SELECT id AS alert_id, organisation_id, 1 AS step, 'fired' AS kind, started_at AS at,
           created_at AS recorded_at, severity, value,
           cause || jsonb_build_object(
               'time', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
               'metric', metric, 'value', value, 'threshold', threshold, 'clear', clear) AS cause,
           NULL AS actor, NULL::uuid AS actor_key, NULL::jsonb AS data
    FROM alerts
    UNION ALL
    SELECT a.id, a.organisation_id, 2, 'acknowledged', a.acknowledged_at, a.acknowledged_at, a.severity, NULL,
           NULL, k.name, a.acknowledged_by, NULL
    FROM alerts a LEFT JOIN api_keys k ON k.id = a.acknowledged_by
    WHERE a.acknowledged_at IS NOT NULL
    UNION ALL
    SELECT id, organisation_id, 3, 'resolved', resolved_at, updated_at, severity, resolved_value, NULL, NULL,
           NULL, jsonb_build_object('reason', resolution)
    FROM alerts WHERE state = 'resolved'
) AS known
ORDER BY alert_id, step
"""
_INEXPRESSIBLE = f"""
DELETE FROM alerts WHERE dry_run OR {" OR ".join(f"{column} IS NULL" for column in _OPTIONAL)}
"""  # noqa: S608 (column names of ours)


def upgrade() -> None:
    """Add columns to `alerts`, and create the tables around it."""
    drops = [f"ALTER COLUMN {column} DROP NOT NULL" for column in _OPTIONAL]
    adds = [f"ADD COLUMN {column}" for column in _ADDED]
    whole = "ADD CONSTRAINT ck_alerts_box CHECK ((box IS NULL) = (box_key IS NULL))"
    op.execute(f"ALTER TABLE alerts {', '.join((*drops, *adds, whole))}")
    op.execute("DROP INDEX uq_alerts_firing")
    for statement in (*_INDEXES, *_TABLES, _CAUSE, _HISTORY):
        op.execute(statement)


def downgrade() -> None:
    """Delete what the older program cannot read, and restore the old schema."""
    removed = op.get_bind().execute(text(_INEXPRESSIBLE)).rowcount
    if removed:
        _log.warning("alerts_removed", alerts=removed, reason="the older schema cannot express them")
    for name in ("inhibitions", "silences", "alert_timeline"):
        op.execute(f"DROP TABLE {name}")
    for name in ("ix_alerts_suppressed", "ix_alerts_due", "uq_alerts_firing"):
        op.execute(f"DROP INDEX {name}")
    drops = [f"DROP COLUMN {column.partition(' ')[0]}" for column in reversed(_ADDED)]
    needed = [f"ALTER COLUMN {column} SET NOT NULL" for column in _OPTIONAL]
    op.execute(f"ALTER TABLE alerts DROP CONSTRAINT ck_alerts_box, {', '.join((*drops, *needed))}")
    op.execute("CREATE UNIQUE INDEX uq_alerts_firing ON alerts (rule_id, box_key) WHERE state = 'firing'")
