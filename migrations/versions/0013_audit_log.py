"""The audit log: a chain of hashes for each organisation, written by triggers, that nobody can change.

A change is noted in `audit_pending` by a trigger of the changed table, and linked into the log when its
transaction commits: only then is the head of the organisation's chain locked, and no longer than the commit
takes. `audit_log` outlives what it tells of: it refers to no other table.

    hash = sha256(previous || record)      the record as UTF-8; `previous` of the first one is 32 zero bytes

`record` is the text that counts. It names its organisation and its position; the columns beside it are
copies, for queries.
"""

from typing import Final

from alembic import op

from migrations.audit import BY_PEOPLE, unwatch, watch
from migrations.isolation import API, MAINTAIN, grant, open_to, organisation_in_reach, protect

revision = "0013"
down_revision = "0012"
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
    # Without a list of what is to be put in later: one writer in many would wait for all of it.
    "CREATE INDEX ix_audit_log_subject_ids ON audit_log USING gin (subject_ids) WITH (fastupdate = off)",
    """
    CREATE TABLE audit_heads (
        organisation_id uuid PRIMARY KEY,
        position bigint NOT NULL,
        hash bytea NOT NULL
    ) WITH (fillfactor = 50)
    """,
    # Empty but for what transactions under way have written: each sees its own rows alone.
    """
    CREATE TABLE audit_pending (
        transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
        id bigint GENERATED ALWAYS AS IDENTITY,
        organisation_id uuid NOT NULL,
        record text NOT NULL,
        actor_id text,
        action text NOT NULL,
        subject_kind text NOT NULL,
        subject_ids text[] NOT NULL,
        CONSTRAINT pk_audit_pending PRIMARY KEY (transaction, id)
    )
    """,
)
# Whoever is not the API is known to the database alone: what it says of itself beside that is not believed.
_ENTER: Final = """
CREATE FUNCTION audit_enter(audience uuid[], action text, subject jsonb, before jsonb, after jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    program text := current_setting('application_name');
    is_api boolean := 'vigie_api' IN (current_setting('role'), session_user::text);
    actor jsonb := CASE WHEN is_api THEN nullif(current_setting('vigie.actor', true), '')::jsonb END;
    origin jsonb := CASE WHEN is_api THEN nullif(current_setting('vigie.origin', true), '')::jsonb END;
    entry text;
BEGIN
    actor := coalesce(actor, jsonb_build_object('kind', CASE WHEN is_api THEN 'program' ELSE 'database' END,
        'id', NULL, 'name', CASE WHEN is_api THEN program ELSE session_user::text END));
    entry := json_build_object('actor', actor, 'action', action, 'subject', subject,
        'before', before, 'after', after,
        'address', CASE WHEN is_api THEN origin ->> 'address' ELSE host(inet_client_addr()) END,
        'request_id', origin ->> 'request_id',
        'database', json_build_object('user', session_user, 'application', program))::text;
    INSERT INTO audit_pending (organisation_id, record, actor_id, action, subject_kind, subject_ids)
    SELECT whose, entry, actor ->> 'id', action, subject ->> 'kind',
        coalesce((SELECT array_agg(id) FROM jsonb_array_elements_text(subject -> 'ids') AS id),
            array_remove(ARRAY[subject ->> 'id'], NULL))
    FROM (SELECT DISTINCT unnest(audience)) AS each (whose) WHERE whose IS NOT NULL;
END $$
"""
_RECORD: Final = """
CREATE FUNCTION audit_record(organisation uuid, action text, subject jsonb, details jsonb)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT audit_enter(ARRAY[organisation], action, subject, NULL, details)
$$
"""
# A new organisation, and one that goes, is told in its parent's log too: who made it can read that one.
_CHANGE: Final = """
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    noun text := TG_ARGV[0];
    recorded text[] := TG_ARGV[4];
    hidden text[] := TG_ARGV[5];
    was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    known jsonb := coalesce(becomes, was);
    identifier text := known ->> TG_ARGV[2];
    audience uuid[] := ARRAY[(was ->> TG_ARGV[1])::uuid, (becomes ->> TG_ARGV[1])::uuid];
    before jsonb;
    after jsonb;
    verb text := CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'DELETE' THEN 'deleted' ELSE 'updated' END;
    subject jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(c, was -> c), jsonb_object_agg(c, becomes -> c) INTO before, after
        FROM unnest(recorded) AS c WHERE was -> c IS DISTINCT FROM becomes -> c;
        SELECT coalesce(after || jsonb_object_agg(c, 'changed'), jsonb_object_agg(c, 'changed'), after)
        INTO after FROM unnest(hidden) AS c WHERE was -> c IS DISTINCT FROM becomes -> c;
        IF after IS NULL THEN
            RETURN NULL;
        END IF;
        SELECT split_part(c, '_', 1) INTO verb FROM unnest('{deleted_at,revoked_at,acknowledged_at}'::text[])
            AS c WHERE before -> c = 'null' LIMIT 1;
        verb := coalesce(verb, 'updated');
    ELSIF TG_OP = 'INSERT' THEN
        SELECT jsonb_object_agg(c, becomes -> c) INTO after
        FROM unnest(recorded) AS c WHERE becomes -> c <> 'null';
    ELSE
        SELECT jsonb_object_agg(c, was -> c) INTO before FROM unnest(recorded) AS c WHERE was -> c <> 'null';
    END IF;
    IF noun = 'endpoint' THEN
        noun := CASE known ->> 'kind' WHEN 'webhook' THEN 'webhook' ELSE 'channel' END;
        before := audit_without_path(before);
        after := audit_without_path(after);
    ELSIF noun = 'organisation' AND TG_OP <> 'UPDATE' THEN
        audience := audience || (known ->> 'parent_id')::uuid;
    END IF;
    subject := jsonb_build_object('kind', noun, 'id', identifier);
    IF known ->> TG_ARGV[3] IS NOT NULL THEN
        subject := subject || jsonb_build_object('name', known -> TG_ARGV[3]);
    END IF;
    IF array_remove(audience, NULL) = '{}' THEN
        audience := '{00000000-0000-0000-0000-000000000000}';
    END IF;
    PERFORM audit_enter(audience, noun || '.' || verb, subject, before, after);
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
# The path of a webhook's URL can be as good as a password.
_WITHOUT_PATH: Final = r"""
CREATE FUNCTION audit_without_path(told jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
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
# The first of a transaction's entries has all of them linked; the others find themselves gone. Heads are
# locked in the order of their ids: of two transactions that need the same, one waits and none fails. Plans
# are kept for as long as a connection, and the table is empty when they are made: no sequential scans, or
# one that comes later reads what others have left behind.
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
# A head moves on; it neither goes nor comes back.
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
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_link()
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
    "audit_enter(uuid[], text, jsonb, jsonb, jsonb)": _ENTER,
    "audit_record(uuid, text, jsonb, jsonb)": _RECORD,
    "audit_without_path(jsonb)": _WITHOUT_PATH,
    "audit_change()": _CHANGE,
    "audit_configured()": _CONFIGURED,
    "audit_truncated()": _TRUNCATED,
    "audit_link()": _LINK,
    "audit_keep()": _KEEP,
    "audit_advance()": _ADVANCE,
}
_WATCHED: Final = (
    "organisations",
    "api_keys",
    "sites",
    "boxes",
    "claims",
    "provisioning_keys",
    "broker_accounts",
    "rules",
    "silences",
    "inhibitions",
    "alerts",
    "backtests",
    "webhook_endpoints",
    "deliveries",
    "delivery_replays",
    "quarantine",
)


def _watch_tenants() -> None:
    watch("organisations", "organisation", ("name", "platform", "kind", "parent_id"), owner="id")
    watch(
        "api_keys",
        "api_key",
        ("organisation_id", "name", "hint", "scopes", "platform", "site_ids", "expires_at", "revoked_at"),
        hidden=("hash",),
    )
    place = ("longitude", "latitude")
    watch(
        "sites",
        "site",
        ("organisation_id", "name", "kind", "timezone", *place, "retention_days", "attributes"),
    )
    watch(
        "boxes",
        "box",
        (
            *("id", "organisation_id", "site_id", "name", *place, "interval_s", "ack", "kind", "tags"),
            *("attributes", "deleted_at", "revoked_at"),
        ),
        hidden=("password_hash",),
    )
    given = ("organisation_id", "site_id", "name", "hint", "expires_at", "revoked_at")
    watch("claims", "claim", (*given, "boxes"), hidden=("hash",))
    watch("provisioning_keys", "provisioning_key", (*given, "id_prefix", "box_limit"), hidden=("hash",))
    watch(
        "broker_accounts",
        "broker_account",
        ("organisation_id",),
        hidden=("password_hash",),
        key="username",
        name="",
    )
    op.execute(
        "CREATE TRIGGER audit_configured AFTER INSERT OR UPDATE OF desired ON box_configs "
        f"FOR EACH ROW WHEN ({BY_PEOPLE}) EXECUTE FUNCTION audit_configured()"
    )


def _watch_alerting() -> None:
    watch(
        "rules",
        "rule",
        (
            *("organisation_id", "site_id", "name", "description", "severity", "definition", "enabled"),
            *("dry_run", "version", "deleted_at"),
        ),
    )
    # Authors, comments and assignees are persons', or of persons: they stay where they can be removed.
    watch(
        "silences",
        "silence",
        ("organisation_id", "matchers", "starts_at", "ends_at", "schedule", "timezone"),
        hidden=("author", "comment"),
        name="",
    )
    watch("inhibitions", "inhibition", ("organisation_id", "name", "source", "target", "equal"))
    watch(
        "alerts",
        "alert",
        ("acknowledged_at", "acknowledged_by"),
        hidden=("assignee",),
        name="",
        changes=("UPDATE", "DELETE"),
        cascades=False,
    )
    watch(
        "backtests",
        "backtest",
        ("organisation_id", "site_id", "rule", "against", "boxes", "begins_at", "ends_at", "state"),
        name="",
        cascades=False,
    )


def _watch_delivery() -> None:
    watch(
        "webhook_endpoints",
        "endpoint",
        (
            *("organisation_id", "kind", "format", "url", "description", "events", "site_ids", "grouping"),
            *("min_severity", "rate_per_s", "concurrency", "enabled", "disabled_reason"),
        ),
        hidden=("secret", "former_secrets", "headers", "target"),
        name="",
    )
    watch("deliveries", "delivery", ("state",), name="", changes=("UPDATE",))
    watch(
        "delivery_replays",
        "delivery_replay",
        ("organisation_id", "endpoint_id", "since", "until", "states", "types", "state", "total"),
        name="",
    )
    watch(
        "quarantine",
        "quarantine_entry",
        ("received_at", "box", "door", "code", "payload_bytes", "replayed_at"),
        name="",
        changes=("DELETE",),
        cascades=False,
    )


def upgrade() -> None:
    """Make the log, and have people's changes written to it from now on."""
    for statement in (*_TABLES, *_FUNCTIONS.values(), *_TRIGGERS):
        op.execute(statement)
    reach = organisation_in_reach()
    for table in ("audit_log", "audit_heads", "audit_pending"):
        protect(table, reach)
        # Functions of the owner's write, whomever the transaction is for.
        op.execute(f"CREATE POLICY keeper ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)")
    open_to("audit_heads", (MAINTAIN,))
    for name in _FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    grant("SELECT", "audit_log", API)
    grant("SELECT", "audit_heads", API, MAINTAIN)
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_record(uuid, text, jsonb, jsonb) TO {API}, {MAINTAIN}")
    _watch_tenants()
    _watch_alerting()
    _watch_delivery()


def downgrade() -> None:
    """Forget the log: export it before."""
    for table in _WATCHED:
        unwatch(table)
    op.execute("DROP TRIGGER audit_configured ON box_configs")
    for table in ("audit_pending", "audit_heads", "audit_log"):
        op.execute(f"DROP TABLE {table}")
    for name in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {name}")
