"""Adds an index that finds an incident's events in the outbox, for the list of who was notified."""

from typing import Final

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

_INDEX: Final = """
CREATE INDEX ix_outbox_incident_id ON outbox ((payload ->> 'incident_id')) WHERE payload ? 'incident_id'
"""


def upgrade() -> None:
    """Add the index."""
    op.execute(_INDEX)


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX ix_outbox_incident_id")
