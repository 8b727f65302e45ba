"""Adds to `ingest_positions` which log they belong to, and what shows that it has lost records: expands."""

from typing import Final

from alembic import op

from migrations.isolation import INGEST, grant

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

# log_name: engine and name of the log. record_digest: of the record at the position, to recognise it again.
# lost_records, lost_at: records that the log removed before they were read, and when that was last found.
_COLUMNS: Final = (
    "log_name text NOT NULL DEFAULT ''",
    "record_digest bigint",
    "lost_records bigint NOT NULL DEFAULT 0",
    "lost_at timestamptz",
)


def upgrade() -> None:
    """Add the columns; a log that is no longer used is closed by ingest's login."""
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE ingest_positions ADD COLUMN {column}")
    grant("DELETE", "ingest_positions", INGEST)


def downgrade() -> None:
    """Remove them."""
    op.execute("REVOKE DELETE ON ingest_positions FROM vigie_ingest")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE ingest_positions DROP COLUMN {column.split()[0]}")
