"""Creates incidents: impulsive sounds that events of several boxes describe, and their reviews by people.

`incident_marks` has the time slots of ten seconds of a site with new events that are not clustered yet. A
trigger on `events` writes marks in the transaction of the events, whatever the ingest endpoint. A worker
deletes only the marks that it has read.

Erased data do not remain in incidents. Rows of `incident_events` are deleted with their events. When the
first of its events is deleted, an incident loses all computed fields, also place and time. Only the outcome
of its review remains, for the site's statistics; with its last event it loses the hour too.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import (
    API,
    EVERYBODY,
    INGEST,
    MAINTAIN,
    grant,
    open_to,
    organisation_in_reach,
    protect,
    site_in_reach,
    unprotect,
)

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_INCIDENTS: Final = """
CREATE TABLE incidents (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'confirmed', 'dismissed')),
    sequence integer NOT NULL DEFAULT 1,
    evidence text CHECK (evidence IN ('unlocated', 'branch', 'position')),
    verified boolean,
    occurred_at timestamptz,
    occurred_sigma_ms double precision,
    first_heard_at timestamptz,
    last_heard_at timestamptz,
    longitude double precision,
    latitude double precision,
    ellipse jsonb,
    branch jsonb,
    alternative jsonb,
    classes jsonb,
    models jsonb,
    probability double precision,
    gunshot_probability double precision,
    rounds integer,
    boxes text[],
    temperature jsonb,
    method jsonb,
    crowded boolean NOT NULL DEFAULT false,
    told jsonb,
    told_at timestamptz,
    untold boolean NOT NULL DEFAULT false,
    detected_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    settled_at timestamptz,
    reviewed_by uuid,
    reviewed_kind text CHECK (reviewed_kind IN ('user', 'system')),
    reviewed_name text,
    reviewed_at timestamptz,
    outcome text,
    note text,
    review_s double precision,
    superseded_by uuid REFERENCES incidents ON DELETE SET NULL,
    erased_at timestamptz,
    CONSTRAINT ck_incidents_review CHECK (
        (state = 'open') = (reviewed_at IS NULL) AND (reviewed_at IS NULL) = (outcome IS NULL)
        AND (reviewed_at IS NULL) = (reviewed_kind IS NULL)
        AND (state <> 'confirmed' OR reviewed_kind = 'user' AND reviewed_by IS NOT NULL)
    ),
    CONSTRAINT ck_incidents_erased CHECK (
        erased_at IS NULL OR num_nonnulls(evidence, verified, occurred_at, occurred_sigma_ms, first_heard_at,
            last_heard_at, longitude, latitude, ellipse, branch, alternative, classes, models, probability,
            gunshot_probability, rounds, boxes, temperature, method, told, note) = 0
    ),
    CONSTRAINT ck_incidents_whole CHECK (
        erased_at IS NOT NULL OR num_nulls(evidence, verified, occurred_at, first_heard_at, last_heard_at,
            classes, models, probability, gunshot_probability, rounds, boxes, temperature, method) = 0
    )
)
"""
_TABLES: Final = (
    _INCIDENTS,
    "CREATE INDEX ix_incidents_organisation_id ON incidents (organisation_id, id)",
    "CREATE INDEX ix_incidents_site_id ON incidents (site_id, detected_at)",
    "CREATE INDEX ix_incidents_occurred_at ON incidents (organisation_id, occurred_at, id)",
    "CREATE INDEX ix_incidents_latitude ON incidents (latitude) WHERE latitude IS NOT NULL",
    "CREATE INDEX ix_incidents_superseded_by ON incidents (superseded_by) WHERE superseded_by IS NOT NULL",
    """
    CREATE INDEX ix_incidents_emptied ON incidents (erased_at)
    WHERE erased_at IS NOT NULL AND state = 'open'
    """,
    "CREATE INDEX ix_incidents_untold ON incidents (told_at) WHERE untold",
    """
    CREATE INDEX ix_incidents_unsettled ON incidents (last_heard_at)
    WHERE settled_at IS NULL AND last_heard_at IS NOT NULL
    """,
    # An event has the box's location at its arrival, so that later clustering uses the same one.
    """
    CREATE TABLE incident_events (
        event_id uuid PRIMARY KEY REFERENCES events ON DELETE CASCADE,
        incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
        box_key integer NOT NULL,
        box text NOT NULL,
        time timestamptz NOT NULL,
        role text NOT NULL CHECK (role IN ('round', 'echo', 'after_review')),
        round integer,
        verdict text CHECK (verdict IN ('used', 'late', 'early', 'inconsistent', 'unplaced')),
        residual_ms double precision,
        longitude double precision,
        latitude double precision
    )
    """,
    "CREATE INDEX ix_incident_events_incident_id ON incident_events (incident_id, time)",
    "CREATE INDEX ix_incident_events_time ON incident_events (time)",
    """
    CREATE TABLE incident_history (
        id uuid PRIMARY KEY,
        incident_id uuid NOT NULL REFERENCES incidents ON DELETE CASCADE,
        kind text NOT NULL,
        at timestamptz NOT NULL,
        sequence integer NOT NULL,
        data jsonb,
        actor_kind text NOT NULL DEFAULT 'system',
        actor_id uuid,
        actor_name text,
        outcome text,
        note text
    )
    """,
    "CREATE INDEX ix_incident_history_incident_id ON incident_history (incident_id, id)",
    """
    CREATE TABLE incident_marks (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        site_id uuid NOT NULL,
        slot bigint NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
)
# A slot is ten seconds since the epoch (app.sound_incidents.sound_event_windows).
_MARK: Final = """
CREATE FUNCTION mark_incidents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO incident_marks (site_id, slot)
    SELECT DISTINCT b.site_id, floor(extract(epoch FROM a.time) / 10)::bigint
    FROM added a JOIN boxes b ON b.key = a.box_key
    WHERE a.type IN ('gunshot', 'explosion', 'impulse', 'glass_break');
    RETURN NULL;
END $$
"""
# The role that deletes events may not see incidents: as in retention_drop, the function sets the tenant
# scope.
_ERASE: Final = """
CREATE FUNCTION erase_from_incident() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    reach text := coalesce(current_setting('vigie.reach', true), '');
    sites text := coalesce(current_setting('vigie.sites', true), '');
    bare boolean;
BEGIN
    PERFORM set_config('vigie.reach', 'all', true), set_config('vigie.sites', '', true);
    IF NOT EXISTS (SELECT FROM events WHERE id = OLD.event_id) THEN
        bare := NOT EXISTS (SELECT FROM incident_events WHERE incident_id = OLD.incident_id);
        UPDATE incidents SET evidence = NULL, verified = NULL, occurred_at = NULL, occurred_sigma_ms = NULL,
            first_heard_at = NULL, last_heard_at = NULL, longitude = NULL, latitude = NULL, ellipse = NULL,
            branch = NULL, alternative = NULL, classes = NULL, models = NULL, probability = NULL,
            gunshot_probability = NULL, rounds = NULL, boxes = NULL, temperature = NULL, method = NULL,
            told = NULL, told_at = NULL, untold = false, note = NULL, erased_at = now(), updated_at = now(),
            detected_at = CASE WHEN bare THEN date_trunc('day', detected_at, 'UTC') ELSE detected_at END,
            settled_at = CASE WHEN bare THEN date_trunc('day', settled_at, 'UTC') ELSE settled_at END,
            reviewed_at = CASE WHEN bare THEN date_trunc('day', reviewed_at, 'UTC') ELSE reviewed_at END
        WHERE id = OLD.incident_id;
        UPDATE incident_history SET data = NULL, note = NULL,
            at = CASE WHEN bare THEN date_trunc('day', at, 'UTC') ELSE at END
        WHERE incident_id = OLD.incident_id;
        INSERT INTO incident_marks (site_id, slot)
        SELECT site_id, floor(extract(epoch FROM OLD.time) / 10)::bigint FROM incidents
        WHERE id = OLD.incident_id AND state = 'open';
    END IF;
    PERFORM set_config('vigie.reach', reach, true), set_config('vigie.sites', sites, true);
    RETURN NULL;
END $$
"""
_TRIGGERS: Final = (
    """
    CREATE TRIGGER mark_incidents AFTER INSERT ON events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION mark_incidents()
    """,
    """
    CREATE TRIGGER erase_from_incident AFTER DELETE ON incident_events
    FOR EACH ROW EXECUTE FUNCTION erase_from_incident()
    """,
)
_REVIEW: Final = (
    "state, sequence, reviewed_by, reviewed_kind, reviewed_name, reviewed_at, outcome, note, review_s"
)
_MAINTAINS: Final = {
    "incidents": "SELECT, INSERT, UPDATE",
    "incident_events": "SELECT, INSERT, UPDATE, DELETE",
    "incident_history": "SELECT, INSERT",
    "incident_marks": "SELECT, DELETE",
    "events": "SELECT (id, level_db, clock_error_ms, received_at)",
    "sites": "SELECT (kind)",
    "boxes": "SELECT (longitude, latitude)",
}
_BEFORE: Final = "type LIKE 'alert.%' OR type LIKE 'quota.%' OR type LIKE 'platform.%'"
_LOCK: Final = "LOCK TABLE events, outbox IN ACCESS EXCLUSIVE MODE"


def _tells(condition: str) -> None:
    """Set the types of events that the maintain role may insert into the outbox."""
    op.execute(f"DROP POLICY told_by_{MAINTAIN} ON outbox")
    op.execute(
        f"CREATE POLICY told_by_{MAINTAIN} ON outbox AS RESTRICTIVE FOR INSERT TO {MAINTAIN} "
        f"WITH CHECK ({condition})"
    )


def upgrade() -> None:
    """Create incidents; only events from now on are clustered."""
    op.execute(_LOCK)
    for statement in (*_TABLES, _MARK, _ERASE, *_TRIGGERS):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION erase_from_incident() FROM PUBLIC")
    protect("incidents", f"{organisation_in_reach()} AND {site_in_reach()}")
    of_incident = f"({EVERYBODY} OR EXISTS (SELECT FROM incidents i WHERE i.id = incident_id))"
    protect("incident_events", of_incident)
    protect("incident_history", of_incident)
    protect("incident_marks", f"({EVERYBODY} OR EXISTS (SELECT FROM sites s WHERE s.id = site_id))")
    for table in ("incidents", "incident_events", "incident_history"):
        open_to(table, (MAINTAIN,))
    open_to("incident_marks", (INGEST, MAINTAIN))
    grant("SELECT", "incidents, incident_events, incident_history", API)
    grant(f"UPDATE ({_REVIEW}, untold, told, told_at, updated_at)", "incidents", API)
    grant("INSERT", "incident_history", API)
    grant("INSERT", "incident_marks", API, INGEST)
    for table, privileges in _MAINTAINS.items():
        grant(privileges, table, MAINTAIN)
    _tells(f"{_BEFORE} OR type LIKE 'incident.%'")
    # Computed columns are the program's work; a note may name people.
    watch(
        "incidents",
        "incident",
        ("site_id", "state", "sequence", "outcome", "reviewed_by", "review_s"),
        hidden=("note",),
        name="",
        changes=("UPDATE",),
    )


def downgrade() -> None:
    """Drop incidents."""
    op.execute(_LOCK)
    _tells(_BEFORE)
    op.execute("DROP TRIGGER mark_incidents ON events")
    for table, columns in (
        ("events", "id, level_db, clock_error_ms, received_at"),
        ("sites", "kind"),
        ("boxes", "longitude, latitude"),
    ):
        op.execute(f"REVOKE SELECT ({columns}) ON {table} FROM {MAINTAIN}")  # noqa: S608 (ours)
    unwatch("incidents")
    for table in ("incident_marks", "incident_history", "incident_events", "incidents"):
        unprotect(table)
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION mark_incidents()")
    op.execute("DROP FUNCTION erase_from_incident()")
