"""Lists the tables that the audit log records since migration 0016; later migrations add others."""

from typing import Final

from alembic import op

from migrations.audit import BY_PEOPLE, watch

WATCHED: Final = (
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
    "users",
    "memberships",
    "invitations",
    "user_sessions",
    "password_resets",
    "oidc_identities",
)
"""The tables whose triggers are dropped with the log."""

_QUOTAS: Final = ("sites", "boxes", "api_keys", "webhooks", "clients", "samples_per_day")


def _watch_tenants() -> None:
    quotas = [f"quota_{name}" for name in _QUOTAS]
    watch("organisations", "organisation", ("name", "platform", "kind", "parent_id", *quotas), owner="id")
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
    # Authors, comments and assignees are personal data: they are stored only where they can be removed.
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
        ("received_at", "box", "door", "code", "payload_bytes", "replayed_at", "attempts"),
        name="",
        changes=("DELETE",),
        cascades=False,
    )
    # The ingest role replays on behalf of a person, whom `vigie.actor` names.
    op.execute(
        "CREATE TRIGGER audit_update AFTER UPDATE OF attempts ON quarantine FOR EACH ROW "
        f"WHEN (({BY_PEOPLE}) OR current_setting('vigie.actor', true) <> '') EXECUTE FUNCTION "
        "audit_changed('quarantine_entry', 'organisation_id', 'id', '', '{code,replayed_at,attempts}', '{}')"
    )


# Names and addresses are stored only where they can be removed: the log has ids.
def _watch_people() -> None:
    watch(
        "users",
        "user",
        ("locale", "disabled_at"),
        hidden=("name", "email", "password_hash"),
        owner="id",
        name="",
    )
    watch("memberships", "member", ("user_id", "organisation_id", "role", "site_ids"), name="")
    watch(
        "invitations",
        "invitation",
        (
            *("organisation_id", "role", "site_ids", "invited_by", "expires_at"),
            *("accepted_at", "revoked_at"),
        ),
        hidden=("email", "invited_by_name", "token_hash"),
        name="",
    )
    # An inserted session is a sign-in, a revoked one a sign-out. Each entry has the address.
    watch(
        "user_sessions",
        "session",
        ("user_id", "organisation_id", "expires_at", "revoked_at"),
        hidden=("token_hash", "user_agent"),
        name="",
    )
    watch(
        "password_resets",
        "password_reset",
        ("user_id", "created_by", "expires_at", "used_at"),
        hidden=("token_hash",),
        owner="user_id",
        name="",
    )
    # A provider's name of a person is often their e-mail address.
    watch(
        "oidc_identities",
        "identity",
        ("user_id", "issuer"),
        hidden=("subject",),
        owner="user_id",
        key="user_id",
        name="",
    )


def watch_all() -> None:
    """Create the triggers of all tables in `WATCHED`."""
    _watch_tenants()
    _watch_alerting()
    _watch_delivery()
    _watch_people()
