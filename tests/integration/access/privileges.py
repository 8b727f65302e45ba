"""What the role of each process may do, as a written list: `test_privileges` compares it with the database.

Whoever needs more grants it in a migration, and says so here. Columns stand in the order of the table.
"""

from typing import Final

_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"

PRIVILEGES: Final[dict[str, dict[str, str]]] = {
    "vigie_api": {
        **dict.fromkeys(
            (
                "alert_timeline",
                "alerts",
                "api_keys",
                "backtests",
                "box_configs",
                "box_states",
                "boxes",
                "broker_accounts",
                "claim_attempts",
                "claims",
                "corrections",
                "deliveries",
                "delivery_attempts",
                "delivery_groups",
                "delivery_replays",
                "endpoint_states",
                "events",
                "former_boxes",
                "grant_keys",
                "grants",
                "group_events",
                "heartbeats",
                "idempotency_keys",
                "inhibitions",
                "installation_settings",
                "invitations",
                "measurement_batches",
                "measurement_subscriptions",
                "memberships",
                "oidc_identities",
                "organisations",
                "outbox",
                "passkeys",
                "password_resets",
                "portal_links",
                "provisioning_keys",
                "quarantine",
                "recovery_codes",
                "report_runs",
                "report_schedules",
                "rights_requests",
                "rollup_states",
                "rule_versions",
                "rules",
                "silences",
                "site_states",
                "sites",
                "totp_secrets",
                "user_sessions",
                "users",
                "webhook_endpoints",
            ),
            _ALL,
        ),
        "account_mails": "INSERT",
        "alembic_version": "SELECT",
        "audit_heads": "SELECT",
        "audit_log": "SELECT",
        "box_refusals": "SELECT, INSERT, UPDATE",
        "door_refusals": "SELECT, INSERT, UPDATE",
        "erasure_boxes": "SELECT, INSERT",
        "erasures": "SELECT, INSERT",
        "incident_events": "SELECT",
        "incident_history": "SELECT, INSERT",
        "incident_marks": "INSERT",
        "edges": "SELECT, DELETE",
        "grant_acceptances": "SELECT, INSERT",
        "grant_uses": "SELECT, INSERT, UPDATE",
        "incidents": (
            "SELECT, UPDATE (state, sequence, told, told_at, untold, updated_at, reviewed_by, "
            "reviewed_kind, reviewed_name, reviewed_at, outcome, note, review_s)"
        ),
        "index_states": "SELECT, DELETE",
        "ingest_positions": "SELECT",
        "ingest_totals": "SELECT",
        "measurement_commits": "SELECT, INSERT",
        "metrics": "SELECT",
        "organisation_usage": "SELECT, INSERT, UPDATE",
        "registry": "SELECT, UPDATE",
        "registry_box_numbers": "SELECT",
        "registry_boxes": "SELECT",
        "registry_former_boxes": "SELECT",
        "registry_sites": "SELECT",
        "removals": "SELECT",
        "retention_states": "SELECT",
        "rollup_day_marks": "SELECT",
        "rollup_marks": "SELECT",
        "rules_definitions": "SELECT",
        "sensorthings_boxes": "SELECT",
        "sensorthings_purposes": "SELECT",
        "sensorthings_series": "SELECT",
        "sensorthings_sites": "SELECT",
        "site_purposes": "SELECT, INSERT, UPDATE",
        "tenant_daily": "SELECT",
        "tenant_hourly": "SELECT",
        "tenant_samples": "SELECT",
        "used_challenges": "INSERT",
        **dict.fromkeys(
            (
                *("granted_data.sensorthings_boxes", "granted_data.sensorthings_purposes"),
                *("granted_data.sensorthings_series", "granted_data.tenant_hourly"),
                "granted_data.tenant_samples",
            ),
            "SELECT",
        ),
    },
    "vigie_public": dict.fromkeys(
        (
            *(
                f"open_data.{name}"
                for name in (
                    *("sensorthings_boxes", "sensorthings_purposes", "sensorthings_series"),
                    "sensorthings_sites",
                    *("tenant_samples", "tenant_hourly", "retention_states"),
                    *("rollup_day_marks", "rollup_marks", "rollup_states"),
                )
            ),
            "public_alerts",
            "public_boxes",
            "public_changes",
            "public_days",
            "public_grants",
            "public_hours",
            "public_incidents",
            "public_measured",
            "public_purposes",
            "public_recent",
            "public_recipients",
            "public_refusals",
            "public_sites",
        ),
        "SELECT",
    ),
    "vigie_ingest": {
        "alembic_version": "SELECT",
        "alert_timeline": "SELECT, INSERT",
        "alerts": "SELECT, INSERT, UPDATE",
        "box_configs": _ALL,
        "box_states": _ALL,
        "boxes": (
            "SELECT (key, id, organisation_id, site_id, name, longitude, latitude, interval_s, ack, "
            "state, state_at, firmware, battery, rssi, revision, created_at, updated_at, deleted_at, "
            "shared_until, revoked_at, kind, tags, attributes, erased, edge), UPDATE (state, state_at, "
            "firmware, battery, rssi, shared_until, edge)"
        ),
        "edges": "SELECT",
        "ingest_positions": _ALL,
        "box_refusals": "SELECT, INSERT, UPDATE",
        "door_refusals": "SELECT, INSERT, UPDATE",
        "events": "SELECT, INSERT",
        "former_boxes": "SELECT",
        "heartbeats": _ALL,
        "incident_marks": "INSERT",
        "ingest_totals": "SELECT, INSERT, UPDATE",
        "inhibitions": "SELECT",
        "measurement_commits": "INSERT",
        "metrics": "SELECT",
        "organisation_usage": "SELECT, INSERT, UPDATE",
        "organisations": "SELECT",
        "outbox": "SELECT, INSERT",
        "quarantine": "SELECT, INSERT, UPDATE",
        "registry": "SELECT, UPDATE",
        "registry_boxes": "SELECT",
        "registry_former_boxes": "SELECT",
        "registry_sites": "SELECT",
        "rollup_marks": "SELECT, INSERT, UPDATE",
        "rule_versions": "SELECT",
        "rules": "SELECT",
        "rules_definitions": "SELECT",
        "samples": "SELECT, INSERT",
        "silences": "SELECT",
        "site_purposes": "SELECT (site_id, purpose, sensitive, starts_at, ends_at, approved_at, revision)",
        "site_states": _ALL,
        "sites": "SELECT",
    },
    "vigie_deliver": {
        "measurement_batches": _ALL,
        "measurement_subscriptions": (
            "SELECT, UPDATE (state, disabled_reason, disabled_at, cursor_position, cursor_index, "
            "waiting_since, due_at, leased_until, consecutive_failures, failing_since, noticed_at, "
            "last_success_at, last_failure_at, last_reason, last_status, open_until, slow_step, "
            "last_detail, items_sent, searched_position, searched_index, found_count, size_limit)"
        ),
        "account_mails": "SELECT, UPDATE (due_at, attempts), DELETE",
        "alembic_version": "SELECT",
        "alerts": "SELECT (id, state, updated_at, suppressed)",
        "alerts_muting": "SELECT",
        "boxes": (
            "SELECT (key, id, organisation_id, site_id, name, longitude, latitude, interval_s, deleted_at, "
            "tags, register_number)"
        ),
        "deliveries": (
            "SELECT, INSERT, UPDATE (state, attempt_count, due_at, leased_until, delivered_at, replay_id)"
        ),
        "delivery_attempts": "SELECT, INSERT",
        "delivery_groups": _ALL,
        "delivery_replays": "SELECT, UPDATE (state, replayed, after_id, finished_at)",
        "endpoint_states": "SELECT, INSERT (endpoint_id), UPDATE",
        "events": "SELECT",
        "group_events": _ALL,
        "heartbeats": _ALL,
        "installation_settings": "SELECT",
        "invitations": (
            "SELECT (id, organisation_id, email, role, invited_by_name, expires_at, accepted_at, revoked_at, "
            "language, mail_status, mail_reason, mail_attempts, mail_due_at, mail_token), UPDATE "
            "(mail_status, mail_reason, mailed_at, mail_attempts, mail_due_at, mail_token)"
        ),
        "measurement_commits": "SELECT, UPDATE (stream_position, positioned_at)",
        "metrics": "SELECT",
        "organisations": "SELECT (id, name)",
        "outbox": (
            "SELECT, INSERT (id, organisation_id, site_id, type, payload, created_at, traceparent), UPDATE "
            "(fanned_out_at, stream_position)"
        ),
        "edges": "SELECT",
        "registry": "SELECT",
        "registry_box_numbers": "SELECT",
        "registry_boxes": "SELECT",
        "site_purposes": "SELECT (site_id, purpose, sensitive, starts_at, ends_at, approved_at)",
        "sites": "SELECT (id, name, timezone)",
        "tenant_hourly": "SELECT",
        "tenant_samples": "SELECT",
        "webhook_endpoints": (
            "SELECT (id, organisation_id, url, description, events, site_ids, secret, enabled, "
            "grouping, kind, format, target, min_severity, headers, former_secrets, rate_per_s, "
            "concurrency, credentials), UPDATE (enabled, updated_at, disabled_reason, disabled_at)"
        ),
    },
    "vigie_maintain": {
        "measurement_subscriptions": "SELECT (id, credentials), UPDATE (credentials)",
        "alembic_version": "SELECT",
        "alert_timeline": (
            "INSERT (id, alert_id, organisation_id, kind, at, recorded_at, severity, value, cause, "
            "actor, actor_key, comment, data)"
        ),
        "alerts": (
            "SELECT, INSERT (id, organisation_id, rule_id, rule_version, site_id, box_key, box, metric, "
            "severity, state, value, threshold, clear, resolved_value, pending_since, started_at, "
            "resolved_at, resolution, acknowledged_at, acknowledged_by, sequence, created_at, updated_at, "
            "description, cause, dry_run, suppressed, told_severity, escalated_to, escalated_at, "
            "escalations, escalate_at, remind_us, remind_at, highest_severity, acknowledged_by_kind, "
            "acknowledged_by_name), "
            "UPDATE (metric, severity, state, value, threshold, clear, resolved_value, "
            "resolved_at, resolution, acknowledged_at, acknowledged_by, sequence, updated_at, cause, "
            "suppressed, told_severity, escalated_to, escalated_at, escalations, escalate_at, "
            "remind_at, highest_severity, acknowledged_by_kind, acknowledged_by_name)"
        ),
        "api_keys": "SELECT (organisation_id, revoked_at)",
        "audit_heads": "SELECT",
        "backtests": (
            "SELECT, UPDATE (state, started_at, finished_at, leased_until, attempts, samples_total, "
            "samples_done, boxes_total, boxes_done, result, error), DELETE"
        ),
        "backups": "SELECT",
        "edges": _ALL,
        "ingest_positions": "SELECT",
        "box_configs": (
            "SELECT (box_key, desired, desired_at, published_at, desired_xid), UPDATE (published_at)"
        ),
        "box_states": "SELECT (box_key, latest, newest_us), UPDATE (latest, newest_us)",
        "boxes": (
            "SELECT (key, id, organisation_id, site_id, name, longitude, latitude, interval_s, "
            "password_hash, revision, deleted_at, kind, tags, attributes, erased), UPDATE (erased), DELETE"
        ),
        "broker_accounts": "SELECT (username, password_hash)",
        "claim_attempts": "SELECT (until), DELETE",
        "daily": _ALL,
        "deliveries": (
            "SELECT (id, endpoint_id, event_id, type, state, due_at, created_at), INSERT (id, "
            "organisation_id, endpoint_id, event_id, type, body, state, attempt_count, due_at, created_at, "
            "site_id, format, alert_id, traceparent, position), UPDATE (replay_id), DELETE"
        ),
        "delivery_attempts": "SELECT (delivery_id, number, started_at, endpoint_id), DELETE",
        "delivery_groups": (
            "SELECT (id, endpoint_id, due_at, idle_until, created_at, held), UPDATE (idle_until), DELETE"
        ),
        "delivery_replays": "SELECT (id, state, finished_at), DELETE",
        "door_refusals": _ALL,
        "endpoint_states": "SELECT (endpoint_id, consecutive_failures, last_status, open_until, slow_step)",
        "erasure_boxes": "SELECT, UPDATE (state)",
        "erasures": ("SELECT, UPDATE (worked_at, finished_at, boxes_done, progress, chain, removed, digest)"),
        "events": (
            "SELECT (id, box_key, time, type, candidates, level_db, clock_error_ms, received_at, late), "
            "DELETE"
        ),
        "grant_acceptances": "SELECT (grant_id, name, address), UPDATE (name, address)",
        "grant_uses": "SELECT (grant_id, key_id, kind, hour, audited_at), UPDATE (audited_at), DELETE",
        "grants": "SELECT (id, contact, valid_until, revoked_at), UPDATE (contact, link_hash)",
        "group_events": "SELECT (group_id, alert_id, created_at, held), UPDATE (held), DELETE",
        "heartbeats": _ALL,
        "hourly": _ALL,
        "idempotency_keys": (
            "SELECT (organisation_id, caller_id, key, answer, expires_at), UPDATE (answer), DELETE"
        ),
        "incident_events": _ALL,
        "incident_history": "SELECT, INSERT",
        "incident_marks": "SELECT, DELETE",
        "incidents": "SELECT, INSERT, UPDATE",
        "index_states": _ALL,
        "inhibitions": "SELECT (id, organisation_id, source, target, equal)",
        "installation_settings": "SELECT, UPDATE (secret)",
        "invitations": (
            "SELECT (id, expires_at, accepted_at, revoked_at, mail_token), UPDATE (mail_token), DELETE"
        ),
        "measurement_commits": "SELECT, INSERT, DELETE",
        "memberships": "SELECT (user_id)",
        "metrics": "SELECT",
        "organisation_usage": "SELECT, DELETE",
        "organisations": "SELECT",
        "outbox": (
            "SELECT (position, organisation_id, type, payload, created_at, fanned_out_at, stream_position), "
            "INSERT (id, organisation_id, site_id, type, payload, created_at, traceparent), DELETE"
        ),
        "password_resets": "SELECT (id, expires_at, used_at), DELETE",
        "quarantine": "SELECT (id, received_at, organisation_id, box), UPDATE (attempted_at), DELETE",
        "quota_notices": "SELECT, INSERT, DELETE",
        "recovery_bundles": "SELECT, INSERT, UPDATE",
        "registry": "SELECT (version, marks_epoch), UPDATE (version, marks_epoch)",
        "registry_boxes": "SELECT",
        "registry_sites": "SELECT",
        "removals": "SELECT, INSERT, UPDATE",
        "report_runs": _ALL,
        "report_schedules": "SELECT, UPDATE (next_at, last_sent_at, last_error)",
        "retention_states": _ALL,
        "rights_requests": (
            "SELECT (id, reference, organisation_id, site_id, kind, state, received_at, due_at, closed_at, "
            "overdue_told_at), UPDATE (overdue_told_at), DELETE"
        ),
        "rollup_day_marks": "SELECT, INSERT, DELETE",
        "rollup_marks": "SELECT, UPDATE, DELETE",
        "rollup_states": _ALL,
        "rules": (
            "SELECT (id, organisation_id, site_id, name, enabled, version, deleted_at, description, "
            "definition, dry_run)"
        ),
        "rules_definitions": "SELECT",
        "samples": "SELECT, DELETE",
        "sealed_value_checks": "SELECT, UPDATE (answered_at, failures), DELETE",
        "silences": (
            "SELECT (id, organisation_id, matchers, starts_at, ends_at, schedule, timezone, "
            "window_start, window_end), UPDATE (window_start, window_end)"
        ),
        "site_purposes": "SELECT",
        "sites": (
            "SELECT (id, organisation_id, name, kind, timezone, latitude, retention_days, attributes, "
            "retention_purposes, retention_removes, summaries_days)"
        ),
        "tenant_hourly": "SELECT",
        "tenant_samples": "SELECT",
        "timeseries_events": "SELECT",
        "totp_secrets": "SELECT (user_id, secret), UPDATE (secret)",
        "used_challenges": "SELECT (expires_at), DELETE",
        "user_sessions": "SELECT (id, expires_at, last_used_at, revoked_at), DELETE",
        "users": "SELECT (id, created_at), DELETE",
        "webhook_endpoints": (
            "SELECT (id, organisation_id, events, site_ids, secret, enabled, kind, min_severity, headers, "
            "former_secrets, disabled_reason, credentials), "
            "UPDATE (secret, headers, former_secrets, credentials)"
        ),
    },
}

SEQUENCES: Final = {
    "vigie_api": {
        *("alert_timeline_position_seq", "boxes_key_seq", "measurement_positions", "outbox_position_seq"),
        "outbox_stream",
    },
    "vigie_ingest": {"alert_timeline_position_seq", "boxes_key_seq", "outbox_position_seq", "outbox_stream"},
    "vigie_deliver": {"measurement_positions", "outbox_stream"},
    "vigie_maintain": set[str](),
    "vigie_public": set[str](),
}
"""Numbers that are given by sequences."""

FUNCTIONS: Final = {
    "vigie_api": ["audit_record", "replication_status", "standby_timeline", "vigie_quota_room"],
    "vigie_deliver": ["subscription_sites"],
    "vigie_maintain": ["replication_status", "retention_clear", "retention_drop"],
    "vigie_public": ["standby_timeline"],
}
"""What runs with its owner's rights, or is not for everybody."""

MEMBERS: Final = {"vigie_api": ["vigie_ingest", "vigie_public"]}
"""Which other roles one may become."""
