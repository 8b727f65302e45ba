"""Adds rules on indices, and lets the maintain role evaluate them.

The maintain role evaluates them when a period has ended, not per batch, so their states have a table of their
own. An older program cannot read these rules: the downgrade disables them, and closes their alerts.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, MAINTAIN, grant, open_to, protect, unprotect

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# 0 stands for the whole site, as in alerts.
_TABLE: Final = """
CREATE TABLE index_states (
    rule_id uuid NOT NULL REFERENCES rules ON DELETE CASCADE,
    box_key integer NOT NULL,
    judged_us bigint NOT NULL,
    state jsonb,
    PRIMARY KEY (rule_id, box_key)
)
"""
_ASKS: Final = "jsonb_path_exists(definition, '$.levels[*].condition.**.index')"
_INDEX: Final = f"CREATE INDEX ix_rules_on_indices ON rules (site_id) WHERE {_ASKS}"
_BOX: Final = "CREATE INDEX ix_index_states_box_key ON index_states (box_key)"
_ALERT: Final = (
    "id, organisation_id, rule_id, rule_version, site_id, box_key, box, pending_since, started_at, "
    "description, dry_run, remind_us, metric, severity, highest_severity, state, value, threshold, clear, "
    "cause, resolved_value, resolved_at, resolution, acknowledged_at, acknowledged_by, sequence, suppressed, "
    "told_severity, escalated_to, escalated_at, escalations, escalate_at, remind_at, created_at, updated_at"
)
_GRANTS: Final = {
    "index_states": "SELECT, INSERT, UPDATE, DELETE",
    "rules": (
        "SELECT (version, organisation_id, site_id, description, definition, dry_run, enabled, deleted_at)"
    ),
    "sites": "SELECT (latitude)",
    "alerts": f"INSERT ({_ALERT})",
    "tenant_samples, tenant_hourly": "SELECT",
}
_CLOSE: Final = f"""
UPDATE alerts SET state = 'resolved', resolution = 'rule_disabled', sequence = sequence + 1,
    resolved_at = greatest(now(), started_at), escalate_at = NULL, remind_at = NULL, updated_at = now()
WHERE state = 'firing' AND rule_id IN (SELECT id FROM rules WHERE {_ASKS})
"""  # noqa: S608 (constants)
_DISABLE: Final = f"UPDATE rules SET enabled = false WHERE enabled AND {_ASKS}"  # noqa: S608 (constants)


def upgrade() -> None:
    """Create the states, and let the maintain role fire alerts."""
    for statement in (_TABLE, _BOX, _INDEX):
        op.execute(statement)
    protect("index_states", "EXISTS (SELECT FROM rules r WHERE r.id = rule_id)")
    open_to("index_states", (MAINTAIN,))
    grant("SELECT, DELETE", "index_states", API)
    for tables, privileges in _GRANTS.items():
        grant(privileges, tables, MAINTAIN)


def downgrade() -> None:
    """Disable rules that the older program cannot read, and close their alerts without notifications."""
    op.execute(_CLOSE)
    op.execute(_DISABLE)
    for tables, privileges in _GRANTS.items():
        op.execute(f"REVOKE {privileges} ON {tables} FROM {MAINTAIN}")
    unprotect("index_states")
    op.execute("DROP INDEX ix_rules_on_indices")
    op.execute("DROP TABLE index_states")
