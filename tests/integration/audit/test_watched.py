"""No change goes unseen: each table and each column is watched, or stands here with a reason.

And nobody but the database's functions writes the log.
"""

from collections.abc import Sequence
from uuid import uuid4

import asyncpg
import pytest

from app.platform.db.database import Database
from app.settings import VigieSettings

# Tables that people do not change, or whose changes are recorded elsewhere.
NOT_WATCHED = {
    "alembic_version": "the migrations' own",
    "alert_timeline": "written with each change of an alert, which is recorded",
    "audit_heads": "the log itself",
    "audit_log": "the log itself",
    "audit_pending": "the log itself",
    "backups": "a list of what `vigie backup` made, of no organisation",
    "box_configs": "its desired configuration has a trigger of its own",
    "box_refusals": "when something of a box was last refused",
    "box_states": "what samples say of boxes",
    "claim_attempts": "counts of guesses",
    "daily": "what samples say of days",
    "delivery_attempts": "the dispatcher's",
    "delivery_groups": "the dispatcher's",
    "door_refusals": "counts of what was refused at the doors",
    "account_mails": "what waits to be told of changes that are recorded",
    "edges": "what edges report of themselves; their removal has a trigger of its own",
    "endpoint_states": "the dispatcher's",
    "erasure_boxes": "how far an erasure is, whose beginning and end are recorded",
    "events": "what boxes recognised",
    "former_boxes": "written by the database when a box goes",
    "grant_uses": "what was read by grants: a trigger of its own writes each hour",
    "group_events": "the dispatcher's",
    "heartbeats": "the processes' own",
    "hourly": "what samples say of hours",
    "idempotency_keys": "answers that are kept for a day",
    "imported_audit_entries": "the log of a former installation",
    "incident_events": "which events are of an incident",
    "incident_history": "written with each change of an incident, whose reviews are recorded",
    "incident_marks": "which events are to be looked at",
    "index_states": "how far rules on indices are judged",
    "ingest_positions": "how far ingest is",
    "ingest_totals": "counts of what came in",
    "measurement_commits": "what was stored, of samples, events, hours and corrections",
    "measurement_batches": "the delivery process's; a replay is of what a subscription has sent",
    "metrics": "the migrations' own",
    "organisation_usage": "counts of what was used and refused",
    "outbox": "what is told to others",
    "quota_notices": "which quotas were told of",
    "recovery_bundles": "sealed copies of files, of no organisation",
    "register_changes": "what the public register tells of changes that are recorded",
    "registry": "a version number",
    "removals": "counts of what was removed for its age",
    "report_runs": "the maintainer's",
    "retention_states": "how far boxes were cleaned",
    "rollup_day_marks": "which summaries are to be made",
    "rollup_marks": "which summaries are to be made",
    "rollup_states": "how far summaries have come",
    "rule_versions": "written with each change of a rule, which is recorded",
    "samples": "what boxes measured",
    "sealed_value_checks": "questions of a verification to `vigie maintain`, of no organisation",
    "site_states": "what samples say of sites",
    "tenant_imports": "how far an import is, whose rows are recorded",
    "used_challenges": "which challenges were answered",
}
# Columns that the program itself writes, or that follow from others.
_STAMPS = {"created_at", "updated_at", "search_text", "register_number"}
OF_NO_ACCOUNT: dict[str, set[str]] = {
    "measurement_subscriptions": {
        *("disabled_at", "waiting_since", "due_at", "leased_until", "consecutive_failures"),
        *("failing_since", "noticed_at", "last_success_at", "last_failure_at", "last_reason"),
        *("last_status", "open_until", "slow_step", "last_detail", "items_sent"),
        *("searched_position", "searched_index", "found_count", "size_limit"),
    },
    "alerts": {
        *("organisation_id", "rule_id", "rule_version", "site_id", "box_key", "box", "metric"),
        *("severity", "highest_severity", "state", "value", "threshold", "clear", "resolved_value"),
        *("pending_since", "started_at", "resolved_at", "resolution", "sequence", "description", "cause"),
        *("dry_run", "suppressed", "told_severity", "notified", "escalated_to", "escalated_at"),
        *("escalations", "escalate_at", "remind_us", "remind_at"),
        # What `acknowledged_by`, which is recorded, was at that time.
        *("acknowledged_by_kind", "acknowledged_by_name"),
    },
    "api_keys": {"last_used_at"},
    "backtests": {
        *("created_by", "started_at", "finished_at", "leased_until", "attempts", "samples_total"),
        *("samples_done", "boxes_total", "boxes_done", "result", "error"),
    },
    "report_schedules": {"next_at", "last_sent_at", "last_error", "created_by"},
    "rights_requests": {
        *("token_hash", "language", "begins_at", "ends_at", "received_at", "handled_kind"),
        "overdue_told_at",
    },
    "site_purposes": {"sensitive", "declared_kind", "declared_at", "revision"},
    "boxes": {
        "came_at",
        "key",
        "state",
        "state_at",
        "firmware",
        "edge",
        "battery",
        "rssi",
        "revision",
        "shared_until",
        "erased",
    },
    "claims": {"used", "last_used_at"},
    "grant_acceptances": {"accepted_at"},
    "grant_keys": {"hint"},
    "installation_settings": {"organisation_id"},
    "invitations": {
        *(
            "language",
            "mail_status",
            "mail_reason",
            "mailed_at",
            "mail_attempts",
            "mail_due_at",
            "mail_token",
        ),
    },
    "deliveries": {
        "alert_id",
        *("organisation_id", "endpoint_id", "event_id", "site_id", "type", "format", "body", "due_at"),
        *("attempt_count", "leased_until", "delivered_at", "replay_id", "traceparent"),
        "position",
    },
    "delivery_replays": {"replayed", "after_id", "created_by", "finished_at"},
    "erasures": {"created_by", "worked_at", "boxes_done", "progress", "chain"},
    "incidents": {
        *("organisation_id", "evidence", "verified", "occurred_at", "occurred_sigma_ms", "first_heard_at"),
        *("last_heard_at", "longitude", "latitude", "ellipse", "branch", "alternative", "classes", "models"),
        *("probability", "gunshot_probability", "rounds", "boxes", "temperature", "method", "crowded"),
        *("told", "told_at", "untold", "detected_at", "settled_at", "reviewed_kind", "reviewed_name"),
        *("reviewed_at", "superseded_by", "erased_at"),
    },
    "passkeys": {"sign_count", "transports", "last_used_at"},
    "portal_links": {"hint", "last_used_at"},
    "provisioning_keys": {"used", "last_used_at"},
    "quarantine": {
        *("organisation_id", "detail", "topic", "payload", "attempted_at", "outcome"),
    },
    "rules": {"effort", "revision"},
    "silences": {"window_start", "window_end", "created_by"},
    "sites": {"revision"},
    "totp_secrets": {"last_step"},
    "user_sessions": {"last_used_at", "address"},
    # When the first factor came, which is recorded itself.
    "users": {"last_sign_in_at", "second_factor_at"},
    "webhook_endpoints": {"disabled_at"},
}
_COLUMNS = """
SELECT table_name, array_agg(column_name::text) FROM information_schema.columns
WHERE table_schema = 'public' AND table_name IN (
    SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
) GROUP BY table_name
"""
# The arguments of a trigger stand one behind the other, each with a zero byte at its end.
_WATCHED = """
SELECT tgrelid::regclass::text AS watched, encode(tgargs, 'escape') AS arguments FROM pg_trigger
WHERE tgname LIKE 'audit\\_%' AND tgname <> 'audit_truncate' AND length(tgargs) > 0
"""


def columns_of(arguments: str) -> set[str]:
    noun, _, key, _, recorded, hidden, _ = arguments.split("\\000")
    assert noun
    return {key, *recorded.strip("{}").split(","), *hidden.strip("{}").split(",")} - {""}


async def test_each_table_and_column_is_watched_or_not_for_a_reason(owner: asyncpg.Connection) -> None:
    columns = {table: set(names) for table, names in await owner.fetch(_COLUMNS)}
    watched: dict[str, set[str]] = {}
    for row in await owner.fetch(_WATCHED):
        watched.setdefault(row["watched"], set()).update(columns_of(row["arguments"]))
    assert columns.keys() - watched.keys() == NOT_WATCHED.keys(), "watch the new table (migrations/audit.py)"
    unsaid = {
        table: columns[table] - names - _STAMPS - OF_NO_ACCOUNT.get(table, set())
        for table, names in watched.items()
    }
    assert {table: names for table, names in unsaid.items() if names} == {}, "record, hide or name them here"
    both = {table: names & OF_NO_ACCOUNT.get(table, set()) for table, names in watched.items()}
    assert {table: names for table, names in both.items() if names} == {}


CHANGES = (
    "UPDATE audit_log SET record = '{}'",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "UPDATE audit_heads SET position = 0",
    "DELETE FROM audit_heads",
    "TRUNCATE audit_heads",
)
ADDITIONS = (
    "INSERT INTO audit_log VALUES (gen_random_uuid(), 1, '', '', '', now(), '', '', '', '{}')",
    "INSERT INTO audit_heads VALUES (gen_random_uuid(), 1, '')",
    "SELECT FROM audit_pending",
    "SELECT audit_enter('{}', '', '{}', NULL, NULL)",
)


async def refused(connection: asyncpg.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.parametrize("role", ["vigie_api", "vigie_ingest", "vigie_deliver", "vigie_maintain"])
async def test_no_process_writes_the_log(settings: VigieSettings, role: str) -> None:
    database = Database(settings.database, application="tests", role=role)
    connection = await database.connect()
    await connection.execute("SELECT set_config('vigie.reach', 'all', false)")
    await refused(connection, (*CHANGES, *ADDITIONS))
    await connection.close()
    await database.close()


async def test_its_owner_cannot_change_it_either(owner: asyncpg.Connection) -> None:
    organisation = (
        "INSERT INTO organisations (id, name, created_at, updated_at) VALUES ($1, 'o', now(), now())"
    )
    await owner.execute(organisation, uuid4())
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 1
    await refused(owner, CHANGES)
