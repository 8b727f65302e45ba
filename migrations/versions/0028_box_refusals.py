"""Adds the newest refusal of each box, so that a box whose data are all refused is not shown as silent."""

from typing import Final

from alembic import op

from migrations.isolation import API, EVERYBODY, INGEST, grant, open_to, protect, unprotect

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# Rows are updated often, and no index changes: free space on the page allows HOT updates.
_TABLE: Final = """
CREATE TABLE box_refusals (
    box_key integer PRIMARY KEY REFERENCES boxes ON DELETE CASCADE,
    refused_at timestamptz NOT NULL,
    code text NOT NULL
) WITH (fillfactor = 50)
"""
# A row is visible if its box is.
_REACH: Final = f"({EVERYBODY} OR EXISTS (SELECT FROM boxes o WHERE o.key = box_key))"


def upgrade() -> None:
    """Create the table of refusals."""
    op.execute(_TABLE)
    protect("box_refusals", _REACH)
    open_to("box_refusals", (INGEST,))
    grant("SELECT, INSERT, UPDATE", "box_refusals", API, INGEST)


def downgrade() -> None:
    """Drop the refusals."""
    unprotect("box_refusals")
    op.execute("DROP TABLE box_refusals")
