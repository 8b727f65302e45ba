"""Adds the tables of imported tenants, for progress and former audit logs: expands.

Logs of former installations have chains of their own and are only read. Only the tables' owner writes them,
and triggers refuse changes, as for the audit log itself.
"""

from typing import Final

from alembic import op

from migrations.isolation import EVERYBODY, organisation_in_reach, protect

revision = "0050"
down_revision = "0049"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    CREATE TABLE tenant_imports (
        organisation_id uuid PRIMARY KEY,
        archive_id uuid NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz,
        steps jsonb NOT NULL,
        box_keys integer[]
    )
    """,
    """
    CREATE TABLE imported_audit_entries (
        organisation_id uuid NOT NULL,
        log integer NOT NULL,
        position bigint NOT NULL,
        source_organisation_id uuid NOT NULL,
        record text NOT NULL,
        previous bytea NOT NULL,
        hash bytea NOT NULL,
        CONSTRAINT pk_imported_audit_entries PRIMARY KEY (organisation_id, log, position)
    )
    """,
)


def upgrade() -> None:
    """Create the tables."""
    for statement in _TABLES:
        op.execute(statement)
    protect("tenant_imports", EVERYBODY)
    protect("imported_audit_entries", organisation_in_reach())
    op.execute(
        "CREATE TRIGGER audit_keep BEFORE UPDATE OR DELETE OR TRUNCATE ON imported_audit_entries "
        "EXECUTE FUNCTION audit_keep()"
    )


def downgrade() -> None:
    """Drop the tables. Export the imported logs first."""
    op.execute("DROP TABLE imported_audit_entries")
    op.execute("DROP TABLE tenant_imports")
