"""Limits the roles of delivery and maintenance to the privileges they need; adds sources to the audit log.

Before, `vigie_maintain` had all privileges on all tables but two. This migration names each column and each
type of event that a process needs; `tests/integration/access/privileges.py` has the same list. Locking a row
requires the privilege to update one of its columns: roles that only lock get it on an unimportant column.

`audit_record` writes only to logs in the transaction's tenant scope, and only about reads and refusals. From
now on each entry names its source: a trigger or the program.
"""

from typing import Final

from alembic import op

from migrations.audit_entries import ENTER, ENTER_FIRST, RECORD, RECORD_FIRST, TOLD, TOLD_FIRST
from migrations.isolation import DELIVER, INGEST, MAINTAIN, grant, open_to

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_ENQUEUE: Final = "INSERT (id, organisation_id, site_id, type, payload, created_at)"
_CHANGES: Final = (
    "acknowledged_at, acknowledged_by, cause, clear, escalate_at, escalated_at, escalated_to, escalations, "
    "highest_severity, metric, remind_at, resolution, resolved_at, resolved_value, sequence, severity, "
    "state, suppressed, threshold, told_severity, value, updated_at"
)
_ENDPOINT: Final = (
    "id, organisation_id, kind, format, url, target, description, events, site_ids, min_severity, grouping, "
    "rate_per_s, concurrency, enabled, secret, former_secrets, headers"
)
_DELIVERS: Final = {
    "sites": "SELECT (id, name, timezone)",
    "alerts": "SELECT (id, state, suppressed, updated_at)",
    "webhook_endpoints": (
        f"SELECT ({_ENDPOINT}), UPDATE (enabled, disabled_reason, disabled_at, updated_at)"
    ),
    "outbox": f"SELECT, {_ENQUEUE}, UPDATE (fanned_out_at, stream_position)",
    "deliveries": (
        "SELECT, INSERT, UPDATE (attempt_count, delivered_at, due_at, leased_until, replay_id, state)"
    ),
    "delivery_attempts": "SELECT, INSERT",
    "delivery_groups": _ALL,
    "group_events": _ALL,
    "endpoint_states": "SELECT, INSERT (endpoint_id), UPDATE",
    "delivery_replays": "SELECT, UPDATE (after_id, finished_at, replayed, state)",
}
_MAINTAINS: Final = {
    "sites": "SELECT (id, organisation_id, timezone, attributes)",
    "boxes": (
        "SELECT (key, id, organisation_id, site_id, interval_s, kind, tags, attributes, deleted_at, "
        "password_hash), DELETE"
    ),
    "box_configs": "SELECT (box_key, desired, desired_at, published_at), UPDATE (published_at)",
    "broker_accounts": "SELECT (username, password_hash)",
    "samples": "SELECT, DELETE",
    "events": "SELECT (time, box_key, type, candidates, late)",
    "quarantine": "SELECT (id, received_at), UPDATE (attempted_at), DELETE",
    "rules": "SELECT (id, name)",
    "alerts": f"SELECT, UPDATE ({_CHANGES})",
    "alert_timeline": (
        "INSERT (id, alert_id, organisation_id, kind, at, recorded_at, severity, value, cause, actor, "
        "actor_key, comment, data)"
    ),
    "silences": (
        "SELECT (id, organisation_id, matchers, starts_at, ends_at, schedule, timezone, window_start, "
        "window_end), UPDATE (window_start, window_end)"
    ),
    "inhibitions": "SELECT (id, organisation_id, source, target, equal)",
    "backtests": (
        "SELECT, UPDATE (state, error, started_at, finished_at, leased_until, attempts, samples_total, "
        "samples_done, boxes_total, boxes_done, result), DELETE"
    ),
    "outbox": (
        "SELECT (position, organisation_id, type, payload, fanned_out_at, stream_position), "
        f"{_ENQUEUE}, DELETE"
    ),
    "webhook_endpoints": (
        "SELECT (id, organisation_id, enabled, disabled_reason, secret, former_secrets, headers), "
        "UPDATE (secret, former_secrets, headers)"
    ),
    "endpoint_states": "SELECT (endpoint_id, open_until, slow_step)",
    "deliveries": "SELECT (id, endpoint_id, state, created_at), UPDATE (replay_id), DELETE",
    "delivery_attempts": "SELECT (delivery_id, endpoint_id, number, started_at), DELETE",
    "delivery_groups": (
        "SELECT (id, endpoint_id, created_at, due_at, idle_until, held), UPDATE (idle_until), DELETE"
    ),
    "group_events": "SELECT (group_id, alert_id, created_at, held), UPDATE (held), DELETE",
    "delivery_replays": "SELECT (id, state, finished_at), DELETE",
    "claim_attempts": "SELECT (until), DELETE",
    "idempotency_keys": (
        "SELECT (organisation_id, caller_id, key, answer, expires_at), UPDATE (answer), DELETE"
    ),
    "organisation_usage": "SELECT, DELETE",
    "quota_notices": "SELECT, INSERT, DELETE",
}
_BEFORE: Final = {
    DELIVER: {
        "boxes": (
            "SELECT (key, id, organisation_id, site_id, name, longitude, latitude, interval_s, ack, kind, "
            "tags, attributes, state, state_at, firmware, battery, rssi, revision, created_at, updated_at, "
            "deleted_at, revoked_at, shared_until)"
        ),
        "organisations, sites, rules, alerts, alert_timeline, silences, inhibitions": "SELECT",
        "outbox, webhook_endpoints": "SELECT, INSERT, UPDATE",
        (
            "endpoint_states, deliveries, delivery_attempts, delivery_groups, group_events, delivery_replays"
        ): _ALL,
    },
    MAINTAIN: {
        (
            "samples, broker_accounts, sites, boxes, claims, provisioning_keys, rules, alerts, backtests, "
            "silences, inhibitions, alert_timeline, webhook_endpoints, deliveries, delivery_groups, "
            "delivery_replays, outbox, events, former_boxes, quarantine, box_states, box_configs, "
            "site_states, rule_versions, endpoint_states, delivery_attempts, group_events, claim_attempts, "
            "organisation_usage, quota_notices"
        ): _ALL,
        "registry": "UPDATE",
        "ingest_totals": "SELECT",
        "idempotency_keys": "SELECT, UPDATE, DELETE",
    },
}
_NOW: Final = {DELIVER: _DELIVERS, MAINTAIN: _MAINTAINS}
_SYSTEM: Final = (INGEST, DELIVER, MAINTAIN)
# For each table: the roles that could read all rows before, and those that can now.
_OPENED: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    **dict.fromkeys(
        ("boxes", "organisations", "rules", "alert_timeline", "silences", "inhibitions"),
        (_SYSTEM, (INGEST, MAINTAIN)),
    ),
    **dict.fromkeys(
        ("rule_versions", "box_states", "site_states", "former_boxes"), ((INGEST, MAINTAIN), (INGEST,))
    ),
    **dict.fromkeys(("claims", "provisioning_keys"), ((MAINTAIN,), ())),
}
# The types of events that each role may insert: a role that only delivers must not invent alerts.
_TELLS: Final = {
    INGEST: "type LIKE 'alert.%'",
    DELIVER: "type LIKE 'endpoint.%'",
    MAINTAIN: "type LIKE 'alert.%' OR type LIKE 'quota.%' OR type LIKE 'platform.%'",
}
# All tables are locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = f"LOCK TABLE {', '.join(_OPENED)}, outbox IN ACCESS EXCLUSIVE MODE"
_RECORD_SIGNATURE: Final = "audit_record(uuid, text, jsonb, jsonb)"
_SIGNATURES: Final = (
    "audit_enter(uuid[], text, jsonb, jsonb, jsonb",
    "audit_told(jsonb, text, jsonb, jsonb, jsonb, jsonb",
)


def _give(rights: dict[str, dict[str, str]], instead_of: dict[str, dict[str, str]]) -> None:
    for role, tables in instead_of.items():
        op.execute(f"REVOKE ALL ON {', '.join(tables)} FROM {role}")
    for role, tables in rights.items():
        for table, privileges in tables.items():
            grant(privileges, table, role)


def _open(now: int) -> None:
    for table, opened in _OPENED.items():
        op.execute(f"DROP POLICY IF EXISTS system ON {table}")
        if opened[now]:
            open_to(table, opened[now])


def _replace_functions(functions: tuple[str, ...], former: str, now: str) -> None:
    for signature in _SIGNATURES:
        op.execute(f"DROP FUNCTION {signature}{former})")
    for function in functions:
        op.execute(function)
    for signature in _SIGNATURES:
        op.execute(f"REVOKE ALL ON FUNCTION {signature}{now}) FROM PUBLIC")


def upgrade() -> None:
    """Revoke unneeded privileges, and add the source to audit entries."""
    op.execute(_LOCK)
    _give(_NOW, _BEFORE)
    # These roles insert no serial numbers: they need only the sequence of stream positions.
    op.execute(f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {DELIVER}, {MAINTAIN}")
    op.execute(f"GRANT USAGE ON SEQUENCE outbox_stream TO {DELIVER}")
    _open(1)
    op.execute(
        f"CREATE POLICY purge ON boxes AS RESTRICTIVE FOR DELETE TO {MAINTAIN} USING (deleted_at IS NOT NULL)"
    )
    for role, condition in _TELLS.items():
        op.execute(
            f"CREATE POLICY told_by_{role} ON outbox AS RESTRICTIVE FOR INSERT TO {role} "
            f"WITH CHECK ({condition})"
        )
    _replace_functions((TOLD, ENTER, RECORD), "", ", text")
    op.execute(f"REVOKE EXECUTE ON FUNCTION {_RECORD_SIGNATURE} FROM {MAINTAIN}")


def downgrade() -> None:
    """Restore the privileges and the functions of before."""
    op.execute(_LOCK)
    op.execute(f"GRANT EXECUTE ON FUNCTION {_RECORD_SIGNATURE} TO {MAINTAIN}")
    _replace_functions((TOLD_FIRST, ENTER_FIRST, RECORD_FIRST), ", text", "")
    for role in _TELLS:
        op.execute(f"DROP POLICY told_by_{role} ON outbox")
    op.execute("DROP POLICY purge ON boxes")
    _open(0)
    op.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {DELIVER}, {MAINTAIN}")
    _give(_BEFORE, _NOW)
