"""Creates indexes for the orders of the list of alerts: by start and by severity.

Ties are ordered by id. Other lists (boxes, sites, keys of an organisation) are short enough to be sorted when
they are read.
"""

from typing import Final

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# The same expression as in the queries (`app.alerts.repository`): an expression index serves no other.
_RANK: Final = "(CASE severity WHEN 'info' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END)"
_INDEXES: Final = {
    "ix_alerts_organisation_id_started_at": "(organisation_id, started_at, id)",
    "ix_alerts_organisation_id_severity": f"(organisation_id, {_RANK}, id)",
}


def upgrade() -> None:
    """Create the indexes."""
    for name, columns in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON alerts {columns}")


def downgrade() -> None:
    """Drop the indexes."""
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
