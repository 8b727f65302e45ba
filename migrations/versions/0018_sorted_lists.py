"""Indexes for the orders of a list without end: alerts by when they started, and by how grave they are.

What is equal in these is in the order of ids, either way. Other lists are an organisation's boxes, sites or
keys, which are sorted as they are read.
"""

from typing import Final

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# As queries have it (`app.alerts.repository`): an index on an expression serves that expression alone.
_RANK: Final = "(CASE severity WHEN 'info' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END)"
_INDEXES: Final = {
    "ix_alerts_organisation_id_started_at": "(organisation_id, started_at, id)",
    "ix_alerts_organisation_id_severity": f"(organisation_id, {_RANK}, id)",
}


def upgrade() -> None:
    """Make the indexes."""
    for name, columns in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON alerts {columns}")


def downgrade() -> None:
    """Do without them."""
    for name in _INDEXES:
        op.execute(f"DROP INDEX {name}")
