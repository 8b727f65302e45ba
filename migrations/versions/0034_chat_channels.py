"""Adds channels to chat and paging services and Alertmanager, with sealed credentials and ordered deliveries.

`webhook_endpoints.credentials` is a sealed JSON object: a secret address, a routing key, a token or a
password. `deliveries.alert_id` is the alert of a delivery to such a channel: a later delivery waits for an
earlier one, so that no alert is triggered after it was resolved. The public register shows all HTTP channels
as webhooks.
"""

from typing import Final

from alembic import op

from migrations.audit import watch
from migrations.isolation import DELIVER, MAINTAIN, grant

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE webhook_endpoints, deliveries IN ACCESS EXCLUSIVE MODE"
_KINDS: Final = ("webhook", "email", "mqtt")
_MORE: Final = ("slack", "teams", "discord", "pagerduty", "ntfy", "alertmanager")
_ENDPOINT: Final = (
    *("organisation_id", "kind", "format", "url", "description", "events", "site_ids", "grouping"),
    *("min_severity", "rate_per_s", "concurrency", "enabled", "disabled_reason", "recipient"),
)
_HIDDEN: Final = ("secret", "former_secrets", "headers", "target")
_RECIPIENTS: Final = """
CREATE OR REPLACE VIEW public_recipients WITH (security_barrier) AS
SELECT DISTINCT s.id AS site_id, {kind} AS kind, e.recipient
FROM webhook_endpoints e JOIN sites s ON s.organisation_id = e.organisation_id
    AND (e.site_ids IS NULL OR s.id = ANY (e.site_ids))
WHERE e.enabled
"""
_PLAIN_KIND: Final = "CASE WHEN e.kind IN ('email', 'mqtt') THEN e.kind ELSE 'webhook' END"


def _allow(kinds: tuple[str, ...]) -> None:
    names = ", ".join(f"'{kind}'" for kind in kinds)
    op.execute("ALTER TABLE webhook_endpoints DROP CONSTRAINT ck_webhook_endpoints_kind")
    op.execute(
        f"ALTER TABLE webhook_endpoints ADD CONSTRAINT ck_webhook_endpoints_kind CHECK (kind IN ({names}))"
    )


def upgrade() -> None:
    """Add the new kinds and columns."""
    op.execute(_LOCK)
    _allow((*_KINDS, *_MORE))
    op.execute("ALTER TABLE webhook_endpoints ADD COLUMN credentials text")
    op.execute("ALTER TABLE deliveries ADD COLUMN alert_id uuid")
    op.execute(
        "CREATE INDEX ix_deliveries_alert_id ON deliveries (endpoint_id, alert_id, id) "
        "WHERE state = 'pending' AND alert_id IS NOT NULL"
    )
    op.execute(_RECIPIENTS.format(kind=_PLAIN_KIND))
    grant("SELECT (credentials)", "webhook_endpoints", DELIVER)
    # To seal secrets again after a rotation, and to resend firing alerts to Alertmanager.
    grant(
        "SELECT (credentials, kind, events, site_ids, min_severity), UPDATE (credentials)",
        "webhook_endpoints",
        MAINTAIN,
    )
    grant(
        "SELECT (event_id, type), INSERT (id, organisation_id, endpoint_id, event_id, site_id, type, format, "
        "body, state, attempt_count, due_at, created_at, alert_id)",
        "deliveries",
        MAINTAIN,
    )
    watch("webhook_endpoints", "endpoint", _ENDPOINT, hidden=(*_HIDDEN, "credentials"), name="")


def downgrade() -> None:
    """Delete the channels of these kinds with their deliveries, because the older program supports none."""
    op.execute(_LOCK)
    kinds = ", ".join(f"'{kind}'" for kind in _MORE)
    op.execute(f"DELETE FROM webhook_endpoints WHERE kind IN ({kinds})")  # noqa: S608 (constants)
    op.execute(_RECIPIENTS.format(kind="e.kind"))
    op.execute(
        "REVOKE SELECT (kind, events, site_ids, min_severity) ON webhook_endpoints FROM vigie_maintain"
    )
    op.execute(
        "REVOKE SELECT (event_id, type), INSERT (id, organisation_id, endpoint_id, event_id, site_id, type, "
        "format, body, state, attempt_count, due_at, created_at) ON deliveries FROM vigie_maintain"
    )
    watch("webhook_endpoints", "endpoint", _ENDPOINT, hidden=_HIDDEN, name="")
    op.execute("DROP INDEX ix_deliveries_alert_id")
    op.execute("ALTER TABLE deliveries DROP COLUMN alert_id")
    op.execute("ALTER TABLE webhook_endpoints DROP COLUMN credentials")
    _allow(_KINDS)
