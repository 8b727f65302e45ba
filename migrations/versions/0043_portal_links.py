"""Adds links to the portal of a webhook's developers, and the headers of answers to attempts.

A link opens the health, deliveries and attempts of one webhook, read-only, without an account. Its token is
stored as a hash. `delivery_attempts.response_headers` is null for attempts before this migration.
"""

from typing import Final

from alembic import op

from migrations.audit import watch
from migrations.isolation import API, grant, organisation_in_reach, protect

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None

# All tables are locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = "LOCK TABLE organisations, webhook_endpoints, delivery_attempts IN ACCESS EXCLUSIVE MODE"
_TABLE: Final = """
CREATE TABLE portal_links (
    id uuid PRIMARY KEY,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    name text NOT NULL,
    hint text NOT NULL,
    token_hash bytea NOT NULL CONSTRAINT uq_portal_links_token_hash UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz
)
"""
_INDEXES: Final = (
    "CREATE INDEX ix_portal_links_endpoint_id ON portal_links (endpoint_id, id)",
    "CREATE INDEX ix_portal_links_organisation_id ON portal_links (organisation_id, id)",
)


def upgrade() -> None:
    """Create the table and the column."""
    op.execute(_LOCK)
    op.execute(_TABLE)
    for statement in _INDEXES:
        op.execute(statement)
    protect("portal_links", organisation_in_reach())
    grant("SELECT, INSERT, UPDATE, DELETE", "portal_links", API)
    recorded = ("organisation_id", "endpoint_id", "name", "expires_at")
    watch("portal_links", "portal_link", recorded, hidden=("token_hash",))
    op.execute("ALTER TABLE delivery_attempts ADD COLUMN response_headers jsonb")


def downgrade() -> None:
    """Drop the table and the column: links no longer open anything."""
    op.execute(_LOCK)
    op.execute("DROP TABLE portal_links")
    op.execute("ALTER TABLE delivery_attempts DROP COLUMN response_headers")
