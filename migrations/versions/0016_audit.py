"""Creates the audit log: a chain of hashes per organisation, which triggers write and nobody can change.

A trigger of a changed table inserts into `audit_pending`. At the commit the entry is linked into the log, so
that the head of the organisation's chain is locked only during the commit. `audit_log` refers to no other
table, because its entries outlive the rows that they describe.

    hash = sha256(previous || record)      the record as UTF-8; `previous` of the first one is 32 zero bytes

`record` is the authoritative text, with its organisation and position; the other columns are copies for
queries.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch
from migrations.audit_beginning import WATCHED, watch_all
from migrations.audit_entries import ENTER_FIRST, RECORD_FIRST, TOLD_FIRST
from migrations.isolation import API, MAINTAIN, grant, open_to, organisation_in_reach, protect

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    CREATE TABLE audit_log (
        organisation_id uuid NOT NULL,
        position bigint NOT NULL,
        record text NOT NULL,
        previous bytea NOT NULL,
        hash bytea NOT NULL,
        at timestamptz NOT NULL,
        actor_id text,
        action text NOT NULL,
        subject_kind text NOT NULL,
        subject_ids text[] NOT NULL,
        CONSTRAINT pk_audit_log PRIMARY KEY (organisation_id, position)
    )
    """,
    "CREATE INDEX ix_audit_log_at ON audit_log (at, organisation_id, position)",
    "CREATE INDEX ix_audit_log_organisation_id_at ON audit_log (organisation_id, at, position)",
    "CREATE INDEX ix_audit_log_actor_id_at ON audit_log (actor_id, at, organisation_id, position)",
    # GIN without `fastupdate`: otherwise a writer waits now and then for the flush of the pending list.
    "CREATE INDEX ix_audit_log_subject_ids ON audit_log USING gin (subject_ids) WITH (fastupdate = off)",
    """
    CREATE TABLE audit_heads (
        organisation_id uuid PRIMARY KEY,
        position bigint NOT NULL,
        hash bytea NOT NULL
    ) WITH (fillfactor = 50)
    """,
    # It contains only rows of open transactions, each of which sees only its own.
    """
    CREATE TABLE audit_pending (
        transaction bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
        id bigint GENERATED ALWAYS AS IDENTITY,
        organisation_id uuid NOT NULL,
        record text NOT NULL,
        actor_id text,
        action text NOT NULL,
        subject_kind text NOT NULL,
        subject_ids text[] NOT NULL,
        leads boolean NOT NULL DEFAULT true,
        CONSTRAINT pk_audit_pending PRIMARY KEY (transaction, id)
    )
    """,
)
# Only the API may name an actor in its session; of all other roles the database's own user counts.
_CONTEXT: Final = """
CREATE FUNCTION audit_context(OUT actor jsonb, OUT origin jsonb) LANGUAGE plpgsql STABLE AS $$
DECLARE
    program text := current_setting('application_name');
    is_api boolean := ARRAY[current_setting('role'), session_user::text]
        && '{vigie_api,vigie_ingest}'; -- the API replays what was refused as that one
BEGIN
    IF is_api THEN
        actor := nullif(current_setting('vigie.actor', true), '');
        IF actor ->> 'kind' = 'user' THEN
            actor := actor || '{"name": null}'; -- who that is the members' list says, for as long as it may
        END IF;
        origin := nullif(current_setting('vigie.origin', true), '');
    END IF;
    actor := coalesce(actor, jsonb_build_object('kind', CASE WHEN is_api THEN 'program' ELSE 'database' END,
        'id', NULL, 'name', CASE WHEN is_api THEN program ELSE session_user::text END));
    origin := jsonb_build_object(
        'address', CASE WHEN is_api THEN origin ->> 'address' ELSE host(inet_client_addr()) END,
        'request_id', origin ->> 'request_id',
        'database', jsonb_build_object('user', session_user, 'application', program));
END $$
"""
# All inserted rows of a statement are recorded together: a thousand boxes take a sixth of the time that they
# take one by one. Only the first entry triggers the linking.
_CREATED: Final = """
CREATE FUNCTION audit_created() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    recorded text[] := TG_ARGV[4];
BEGIN
    INSERT INTO audit_pending
        (organisation_id, record, actor_id, action, subject_kind, subject_ids, leads)
    SELECT whose, audit_told(actor, noun || '.created', jsonb_strip_nulls(jsonb_build_object(
            'kind', noun, 'id', known -> TG_ARGV[2], 'name', known -> TG_ARGV[3])), NULL,
            audit_without_path((SELECT jsonb_object_agg(key, value) FROM jsonb_each(known)
                WHERE key = ANY (recorded) AND value <> 'null')), origin),
        actor ->> 'id', noun || '.created', noun, ARRAY[known ->> TG_ARGV[2]], row_number() OVER () = 1
    FROM (SELECT to_jsonb(added) AS known FROM added) AS rows
    CROSS JOIN LATERAL audit_noun(TG_ARGV[0], known) AS noun
    CROSS JOIN LATERAL unnest(audit_audience(TG_ARGV[0], (known ->> TG_ARGV[1])::uuid, known)) AS whose
    CROSS JOIN (SELECT * FROM audit_context() OFFSET 0) AS context;
    RETURN NULL;
END $$
"""
_NOUN: Final = """
CREATE FUNCTION audit_noun(noun text, known jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN noun <> 'endpoint' THEN noun WHEN known ->> 'kind' = 'webhook' THEN 'webhook'
        ELSE 'channel' END
$$
"""
# The creation and deletion of an organisation are recorded in its parent's log too, whose readers created it.
# A change of a person is recorded in the logs of all their organisations: the tenant scope is widened for
# this alone (as for quotas, 0014). Entries without an organisation have a log of their own.
_PLACES: Final = """
CREATE FUNCTION audit_places(person uuid) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    reach text := coalesce(current_setting('vigie.reach', true), '');
    places uuid[];
BEGIN
    PERFORM set_config('vigie.reach', 'all', true);
    places := ARRAY(SELECT organisation_id FROM memberships WHERE user_id = person);
    PERFORM set_config('vigie.reach', reach, true);
    RETURN CASE WHEN places = '{}' THEN ARRAY['00000000-0000-0000-0000-000000000000'::uuid] ELSE places END;
END $$
"""
_AUDIENCE: Final = """
CREATE FUNCTION audit_audience(noun text, whose uuid, known jsonb) RETURNS uuid[]
LANGUAGE sql AS $$
    SELECT CASE WHEN noun IN ('user', 'password_reset', 'identity') THEN audit_places(whose)
        WHEN noun = 'organisation' AND known ->> 'parent_id' IS NOT NULL
        THEN ARRAY[whose, (known ->> 'parent_id')::uuid]
        ELSE ARRAY[coalesce(whose, '00000000-0000-0000-0000-000000000000')] END
$$
"""
_CHANGED: Final = """
CREATE FUNCTION audit_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    recorded text[] := TG_ARGV[4];
    hidden text[] := TG_ARGV[5];
    was jsonb := to_jsonb(OLD);
    becomes jsonb := CASE TG_OP WHEN 'UPDATE' THEN to_jsonb(NEW) END;
    known jsonb := coalesce(becomes, was);
    noun text := audit_noun(TG_ARGV[0], known);
    audience uuid[];
    before jsonb;
    after jsonb;
    verb text := 'deleted';
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(c, was -> c), jsonb_object_agg(c, becomes -> c) INTO before, after
        FROM unnest(recorded) AS c WHERE was -> c IS DISTINCT FROM becomes -> c;
        SELECT coalesce(after, '{}') || jsonb_object_agg(c, 'changed') INTO after
        FROM unnest(hidden) AS c WHERE was -> c IS DISTINCT FROM becomes -> c HAVING count(*) > 0
        UNION ALL SELECT after LIMIT 1;
        IF after IS NULL THEN
            RETURN NULL;
        END IF;
        SELECT split_part(c, '_', 1) INTO verb
        FROM unnest('{deleted_at,revoked_at,acknowledged_at,accepted_at,used_at,disabled_at}'::text[]) AS c
        WHERE before -> c = 'null' LIMIT 1;
        verb := coalesce(verb, 'updated');
        -- What goes from one organisation to another is told to both.
        audience := audit_audience(nullif(noun, 'organisation'), (was ->> TG_ARGV[1])::uuid, was)
            || audit_audience(nullif(noun, 'organisation'), (becomes ->> TG_ARGV[1])::uuid, becomes);
    ELSE
        SELECT jsonb_object_agg(c, was -> c) INTO before FROM unnest(recorded) AS c WHERE was -> c <> 'null';
        audience := audit_audience(TG_ARGV[0], (was ->> TG_ARGV[1])::uuid, was);
    END IF;
    PERFORM audit_enter(audience, noun || '.' || verb, jsonb_strip_nulls(jsonb_build_object(
        'kind', noun, 'id', known -> TG_ARGV[2], 'name', known -> TG_ARGV[3])),
        audit_without_path(before), audit_without_path(after));
    RETURN NULL;
END $$
"""
_CONFIGURED: Final = """
CREATE FUNCTION audit_configured() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN OLD.desired END;
    box record;
BEGIN
    IF was IS DISTINCT FROM NEW.desired THEN
        SELECT id, organisation_id INTO box FROM boxes WHERE key = NEW.box_key;
        PERFORM audit_enter(ARRAY[box.organisation_id], 'box.configured',
            jsonb_build_object('kind', 'box', 'id', box.id),
            jsonb_build_object('desired', was), jsonb_build_object('desired', NEW.desired));
    END IF;
    RETURN NULL;
END $$
"""
# The path of a webhook's URL can be a secret.
_WITHOUT_PATH: Final = r"""
CREATE FUNCTION audit_without_path(told jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN told ? 'url' AND told ->> 'url' IS NOT NULL THEN told || jsonb_build_object(
        'url', regexp_replace(told ->> 'url', '^([^:]+://[^/?#]*)[/?#].*$', '\1/…')) ELSE told END
$$
"""
_TRUNCATED: Final = """
CREATE FUNCTION audit_truncated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM audit_enter('{00000000-0000-0000-0000-000000000000}', TG_ARGV[0] || '.all_deleted',
        jsonb_build_object('kind', TG_ARGV[0], 'id', NULL), NULL, NULL);
    RETURN NULL;
END $$
"""
# The first entry of a transaction links all of them; the others find none left. Heads are locked in the order
# of their ids, so that two transactions with the same heads do not deadlock. Plans are cached per connection
# and made while the table is empty, so sequential scans are off: a later one would read dead rows.
_LINK: Final = """
CREATE FUNCTION audit_link() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    head record;
    entry record;
    place bigint;
    last bytea;
    digest bytea;
    told text;
    at timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM audit_pending WHERE transaction = NEW.transaction AND id = NEW.id) THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit_heads (organisation_id, position, hash)
    SELECT DISTINCT organisation_id, 0, decode(repeat('00', 32), 'hex') FROM audit_pending
    WHERE transaction = NEW.transaction ORDER BY organisation_id
    ON CONFLICT DO NOTHING;
    FOR head IN
        SELECT * FROM audit_heads WHERE organisation_id = ANY (ARRAY(
            SELECT organisation_id FROM audit_pending WHERE transaction = NEW.transaction
        )) ORDER BY organisation_id FOR UPDATE
    LOOP
        place := head.position;
        last := head.hash;
        at := clock_timestamp();
        FOR entry IN
            SELECT * FROM audit_pending
            WHERE transaction = NEW.transaction AND organisation_id = head.organisation_id ORDER BY id
        LOOP
            place := place + 1;
            told := '{"organisation_id": "' || head.organisation_id || '", "position": ' || place
                || ', "at": "' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '", '
                || substr(entry.record, 2);
            digest := sha256(last || convert_to(told, 'UTF8'));
            INSERT INTO audit_log (organisation_id, position, record, previous, hash, at, actor_id, action,
                subject_kind, subject_ids)
            VALUES (head.organisation_id, place, told, last, digest, at, entry.actor_id, entry.action,
                entry.subject_kind, entry.subject_ids);
            last := digest;
        END LOOP;
        UPDATE audit_heads SET position = place, hash = last WHERE organisation_id = head.organisation_id;
    END LOOP;
    DELETE FROM audit_pending WHERE transaction = NEW.transaction;
    RETURN NULL;
END $$
"""
_KEEP: Final = """
CREATE FUNCTION audit_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log can only be added to' USING ERRCODE = 'insufficient_privilege';
END $$
"""
# A head only advances; it is never deleted or set back.
_ADVANCE: Final = """
CREATE FUNCTION audit_advance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.position <= OLD.position OR NEW.organisation_id <> OLD.organisation_id THEN
        RAISE EXCEPTION 'the head of an audit log only moves on' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGERS: Final = (
    """
    CREATE CONSTRAINT TRIGGER audit_link AFTER INSERT ON audit_pending
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.leads) EXECUTE FUNCTION audit_link()
    """,
    """
    CREATE TRIGGER audit_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    EXECUTE FUNCTION audit_keep()
    """,
    "CREATE TRIGGER audit_keep BEFORE DELETE OR TRUNCATE ON audit_heads EXECUTE FUNCTION audit_keep()",
    """
    CREATE TRIGGER audit_advance BEFORE UPDATE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION audit_advance()
    """,
)
_FUNCTIONS: Final = {
    "audit_context()": _CONTEXT,
    "audit_told(jsonb, text, jsonb, jsonb, jsonb, jsonb)": TOLD_FIRST,
    "audit_noun(text, jsonb)": _NOUN,
    "audit_places(uuid)": _PLACES,
    "audit_audience(text, uuid, jsonb)": _AUDIENCE,
    "audit_without_path(jsonb)": _WITHOUT_PATH,
    "audit_enter(uuid[], text, jsonb, jsonb, jsonb)": ENTER_FIRST,
    "audit_record(uuid, text, jsonb, jsonb)": RECORD_FIRST,
    "audit_created()": _CREATED,
    "audit_changed()": _CHANGED,
    "audit_configured()": _CONFIGURED,
    "audit_truncated()": _TRUNCATED,
    "audit_link()": _LINK,
    "audit_keep()": _KEEP,
    "audit_advance()": _ADVANCE,
}
# All tables are locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = f"LOCK TABLE {', '.join(WATCHED)}, box_configs IN ACCESS EXCLUSIVE MODE"


def upgrade() -> None:
    """Create the log and the triggers that record people's changes."""
    op.execute(_LOCK)
    for statement in (*_TABLES, *_FUNCTIONS.values(), *_TRIGGERS):
        op.execute(statement)
    reach = organisation_in_reach()
    for table in ("audit_log", "audit_heads", "audit_pending"):
        protect(table, reach)
        # Functions with the owner's rights write, whatever the transaction's tenant scope.
        op.execute(f"CREATE POLICY keeper ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    open_to("audit_heads", (MAINTAIN,))
    for name in _FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    grant("SELECT", "audit_log", API)
    grant("SELECT", "audit_heads", API, MAINTAIN)
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_record(uuid, text, jsonb, jsonb) TO {API}, {MAINTAIN}")
    watch_all()


def downgrade() -> None:
    """Drop the log. Export it first."""
    op.execute(_LOCK)
    for table in WATCHED:
        unwatch(table)
    op.execute("DROP TRIGGER audit_configured ON box_configs")
    for table in ("audit_pending", "audit_heads", "audit_log"):
        op.execute(f"DROP TABLE {table}")
    for name in reversed(_FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
