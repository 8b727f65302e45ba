"""Adds retention per site and purpose, and erasure on request.

The maintain role removes expired data. It owns no table: it deletes rows, and calls two functions with the
owner's rights. `retention_clear` sets values of samples to null, and can write no others; `retention_drop`
drops chunks of samples, and itself decides which. `retention_states` has the progress per box.

Erased data must not return: `boxes.erased` has the times for which samples and events are refused. A box that
is registered again under its id gets the times of before (`former_boxes`).
"""

from typing import Final

from alembic import op

from migrations.audit import BY_PEOPLE, unwatch, watch
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
)

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_BOXES: Final = (
    "id, organisation_id, site_id, interval_s, ack, deleted_at, shared_until, kind, tags, attributes"
)
_SITES: Final = "organisation_id, retention_days, timezone, attributes"
_MORE: Final = {"boxes": (_BOXES, "erased"), "sites": (_SITES, "retention_purposes, retention_removes")}
_SITE: Final = (
    *("organisation_id", "name", "kind", "timezone", "longitude", "latitude", "retention_days"),
    "attributes",
)
_SETTINGS: Final = ("retention_purposes", "retention_removes", "summaries_days")

_TABLES: Final = (
    """
    ALTER TABLE sites
        ADD COLUMN retention_purposes jsonb NOT NULL DEFAULT '{}',
        ADD COLUMN retention_removes boolean NOT NULL DEFAULT false,
        ADD COLUMN summaries_days integer CHECK (summaries_days > 0)
    """,
    "ALTER TABLE boxes ADD COLUMN erased tstzmultirange NOT NULL DEFAULT '{}'",
    "ALTER TABLE former_boxes ADD COLUMN erased tstzmultirange NOT NULL DEFAULT '{}'",
    # The start of the next day to clean, and the time up to which anything was removed.
    """
    CREATE TABLE retention_states (
        box_key integer NOT NULL REFERENCES boxes ON DELETE CASCADE,
        purpose text NOT NULL,
        next_from timestamptz NOT NULL,
        removed_until timestamptz NOT NULL,
        PRIMARY KEY (box_key, purpose)
    )
    """,
    """
    CREATE TABLE removals (
        site_id uuid PRIMARY KEY REFERENCES sites ON DELETE CASCADE,
        samples bigint NOT NULL DEFAULT 0,
        measured bigint NOT NULL DEFAULT 0,
        events bigint NOT NULL DEFAULT 0,
        hourly bigint NOT NULL DEFAULT 0,
        daily bigint NOT NULL DEFAULT 0,
        updated_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE erasures (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
        box text,
        begins_at timestamptz,
        ends_at timestamptz NOT NULL,
        reason text NOT NULL,
        created_by uuid,
        created_at timestamptz NOT NULL DEFAULT now(),
        worked_at timestamptz,
        finished_at timestamptz,
        boxes_total integer NOT NULL,
        boxes_done integer NOT NULL DEFAULT 0,
        progress jsonb NOT NULL DEFAULT '{}',
        chain text NOT NULL,
        removed jsonb,
        digest text,
        CHECK ((finished_at IS NULL) = (removed IS NULL) AND (removed IS NULL) = (digest IS NULL))
    )
    """,
    "CREATE INDEX ix_erasures_site_id ON erasures (site_id, id)",
    "CREATE INDEX ix_erasures_organisation_id ON erasures (organisation_id)",
    "CREATE INDEX ix_erasures_unfinished ON erasures (worked_at, id) WHERE finished_at IS NULL",
    """
    CREATE TABLE erasure_boxes (
        erasure_id uuid NOT NULL REFERENCES erasures ON DELETE CASCADE,
        box_key integer NOT NULL REFERENCES boxes ON DELETE CASCADE,
        state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'emptied', 'done')),
        PRIMARY KEY (erasure_id, box_key)
    )
    """,
    "CREATE INDEX ix_erasure_boxes_box_key ON erasure_boxes (box_key)",
)
_FORMER: Final = """
CREATE OR REPLACE FUNCTION remember_former_box() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO former_boxes AS f (box, organisation_id, until, erased)
    VALUES (OLD.id, OLD.organisation_id, now(), OLD.erased)
    ON CONFLICT (box, organisation_id) DO UPDATE
        SET until = excluded.until, erased = f.erased + excluded.erased;
    RETURN NULL;
END $$
"""
_FORMER_BEFORE: Final = """
CREATE OR REPLACE FUNCTION remember_former_box() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO former_boxes AS f (box, organisation_id, until)
    VALUES (OLD.id, OLD.organisation_id, now())
    ON CONFLICT (box, organisation_id) DO UPDATE SET until = excluded.until;
    RETURN NULL;
END $$
"""
_AGAIN: Final = (
    """
    CREATE FUNCTION recall_erased() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.erased := NEW.erased + coalesce((
            SELECT f.erased FROM former_boxes f
            WHERE f.box = NEW.id AND f.organisation_id = NEW.organisation_id), '{}');
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER recall_erased BEFORE INSERT ON boxes FOR EACH ROW EXECUTE FUNCTION recall_erased()
    """,
)
# It only sets values to null; column names come from the catalogue.
_CLEAR: Final = """
CREATE FUNCTION retention_clear(box integer, first timestamptz, last timestamptz, names text[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    known text[] := ARRAY(SELECT format('%I', m.name) FROM metrics m WHERE m.name = ANY (names) ORDER BY 1);
    cleared bigint;
BEGIN
    IF known = '{}' THEN
        RETURN 0;
    END IF;
    EXECUTE format('UPDATE samples SET %s = NULL WHERE box_key = $1 AND time >= $2 AND time < $3 '
        'AND num_nonnulls(%s) > 0', array_to_string(known, ' = NULL, '), array_to_string(known, ', '))
    USING box, first, last;
    GET DIAGNOSTICS cleared = ROW_COUNT;
    RETURN cleared;
END $$
"""
# Computes per box the time before which all samples may be removed. The site must remove data and retain none
# for longer (its default period counts, whatever purposes say), its day must have ended, and no roll-up may
# wait for the samples.
_UNTIL: Final = """
CREATE FUNCTION retention_until() RETURNS TABLE (key integer, until timestamptz) LANGUAGE sql STABLE AS $$
    SELECT b.key, CASE
        WHEN s.retention_removes AND s.retention_days IS NOT NULL AND days.ever IS NOT TRUE
            AND b.deleted_at IS NULL AND r.box_key IS NOT NULL
        THEN least(
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
# First the chunk is searched, without a lock, for boxes whose samples stay. If there is none, it is locked
# against writes, and all its keys are checked, with one index step each; a caller that sees too few boxes
# drops nothing. One chunk per call, because its lock lasts until the end of the transaction. The number of
# dropped samples is the planner's estimate.
_DROP: Final = """
CREATE FUNCTION retention_drop()
RETURNS TABLE (first timestamptz, last timestamptz, estimate bigint) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    reach text := coalesce(current_setting('vigie.reach', true), '');
    sites text := coalesce(current_setting('vigie.sites', true), '');
    keys integer[];
    untils timestamptz[];
    chunk record;
    stays boolean;
    kept text := '
        SELECT EXISTS (SELECT FROM unnest($2, $3) AS b (key, until),
            LATERAL (SELECT FROM %s c WHERE c.box_key = b.key LIMIT 1) c WHERE b.until < $1)';
    held text := '
        WITH RECURSIVE beyond AS MATERIALIZED (
            SELECT b.key FROM unnest($2, $3) AS b (key, until) WHERE b.until >= $1
        ), found (key) AS (
            SELECT min(box_key) FROM %1$s
            UNION ALL
            SELECT (SELECT min(c.box_key) FROM %1$s c WHERE c.box_key > f.key) FROM found f
            WHERE f.key IN (SELECT key FROM beyond)
        )
        SELECT EXISTS (SELECT FROM found WHERE key IS NOT NULL AND key NOT IN (SELECT key FROM beyond))';
BEGIN
    PERFORM set_config('vigie.reach', 'all', true), set_config('vigie.sites', '', true);
    SELECT coalesce(array_agg(u.key), '{}'), coalesce(array_agg(u.until), '{}') INTO keys, untils
    FROM retention_until() u;
    FOR chunk IN
        SELECT format('%I.%I', c.chunk_schema, c.chunk_name) AS name, c.range_start, c.range_end
        FROM timescaledb_information.chunks c
        WHERE c.hypertable_schema = 'public' AND c.hypertable_name = 'samples'
            AND c.range_end < now() - interval '1 day'
        ORDER BY c.range_start
    LOOP
        EXECUTE format(kept, chunk.name) INTO stays USING chunk.range_end, keys, untils;
        CONTINUE WHEN stays;
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', chunk.name);
            EXECUTE format(held, chunk.name) INTO stays USING chunk.range_end, keys, untils;
            IF stays THEN
                RAISE lock_not_available; -- lets go of it
            END IF;
            estimate := (SELECT greatest(c.reltuples, 0) FROM pg_class c WHERE c.oid = chunk.name::regclass);
            PERFORM drop_chunks('samples', older_than => chunk.range_end, newer_than => chunk.range_start);
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;
        END;
        first := chunk.range_start;
        last := chunk.range_end;
        RETURN NEXT;
        EXIT;
    END LOOP;
    PERFORM set_config('vigie.reach', reach, true), set_config('vigie.sites', sites, true);
END $$
"""
_FUNCTIONS: Final = {
    "retention_clear(integer, timestamptz, timestamptz, text[])": _CLEAR,
    "retention_until()": _UNTIL,
    "retention_drop()": _DROP,
}
_FOR_MAINTAIN: Final = (
    "retention_clear(integer, timestamptz, timestamptz, text[])",
    "retention_drop()",
)
_GRANTS: Final = {
    "sites": "SELECT (retention_days, retention_purposes, retention_removes, summaries_days)",
    "boxes": "SELECT (erased), UPDATE (erased)",
    "registry": "SELECT (version), UPDATE (version)",
    "box_states": "SELECT (box_key, latest, newest_us), UPDATE (latest, newest_us)",
    "events": "DELETE",
    "quarantine": "SELECT (organisation_id, box)",
    "retention_states": "SELECT, INSERT, UPDATE, DELETE",
    "removals": "SELECT, INSERT, UPDATE",
    "erasures": "SELECT, UPDATE (worked_at, finished_at, boxes_done, progress, chain, removed, digest)",
    "erasure_boxes": "SELECT, UPDATE (state)",
}
_TRIGGERS: Final = {"registry_next": "STATEMENT", "registry_stamp": "ROW"}
_THROUGH: Final = "({0} OR EXISTS (SELECT FROM {1}))"
_ASKED: Final = (
    *("organisation_id", "site_id", "box", "begins_at", "ends_at", "reason", "boxes_total"),
    *("finished_at", "removed", "digest"),
)
_LOCK: Final = (
    "LOCK TABLE sites, boxes, former_boxes, box_states, events, quarantine IN ACCESS EXCLUSIVE MODE"
)


def _stamp(more: bool) -> None:  # noqa: FBT001 (there and back)
    for table, (columns, added) in _MORE.items():
        for name, each in _TRIGGERS.items():
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(
                f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OF {columns}{f', {added}' if more else ''} "
                f"ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()"
            )


def _protect() -> None:
    boxes = _THROUGH.format(EVERYBODY, "boxes b WHERE b.key = box_key")
    protect("retention_states", boxes)
    protect("removals", _THROUGH.format(EVERYBODY, "sites s WHERE s.id = site_id"))
    protect("erasures", f"{organisation_in_reach()} AND {site_in_reach()}")
    protect("erasure_boxes", _THROUGH.format(EVERYBODY, "erasures e WHERE e.id = erasure_id"))
    for table in ("retention_states", "removals", "erasures", "erasure_boxes"):
        open_to(table, (MAINTAIN,))
    op.execute("DROP POLICY system ON box_states")
    open_to("box_states", (INGEST, MAINTAIN))
    grant("SELECT", "retention_states, removals", API)
    grant("SELECT, INSERT", "erasures, erasure_boxes", API)
    grant("SELECT (erased)", "boxes", INGEST)
    for table, privileges in _GRANTS.items():
        grant(privileges, table, MAINTAIN)
    for signature in _FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    for signature in _FOR_MAINTAIN:
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {MAINTAIN}")


def _watch() -> None:
    watch("sites", "site", (*_SITE, *_SETTINGS))
    # Progress written by the maintain role is not recorded, but the end is, as proof of the removal.
    watch("erasures", "erasure", _ASKED, name="")
    op.execute(
        "CREATE TRIGGER audit_finished AFTER UPDATE OF finished_at ON erasures FOR EACH ROW "
        f"WHEN (NOT ({BY_PEOPLE})) EXECUTE FUNCTION audit_changed('erasure', 'organisation_id', 'id', '', "
        "'{site_id,box,begins_at,ends_at,finished_at,removed,digest}', '{}')"
    )


def upgrade() -> None:
    """Create settings, erasures and functions, and let the maintain role remove expired data."""
    op.execute(_LOCK)
    for statement in (*_TABLES, _FORMER, *_AGAIN, *_FUNCTIONS.values()):
        op.execute(statement)
    _stamp(more=True)
    _protect()
    _watch()


def downgrade() -> None:
    """Drop the settings and erasures; removed data do not return."""
    op.execute(_LOCK)
    op.execute("DROP TRIGGER audit_finished ON erasures")
    unwatch("erasures")
    watch("sites", "site", _SITE)
    for table, privileges in _GRANTS.items():
        op.execute(f"REVOKE {privileges} ON {table} FROM {MAINTAIN}")
    op.execute("DROP POLICY system ON box_states")
    open_to("box_states", (INGEST,))
    _stamp(more=False)
    op.execute("DROP TRIGGER recall_erased ON boxes")
    op.execute("DROP FUNCTION recall_erased()")
    op.execute(_FORMER_BEFORE)
    for signature in reversed(_FUNCTIONS):
        op.execute(f"DROP FUNCTION {signature}")
    for table in ("erasure_boxes", "erasures", "removals", "retention_states"):
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE former_boxes DROP COLUMN erased")
    op.execute("ALTER TABLE boxes DROP COLUMN erased")
    op.execute(
        "ALTER TABLE sites DROP COLUMN retention_purposes, DROP COLUMN retention_removes, "
        "DROP COLUMN summaries_days"
    )
