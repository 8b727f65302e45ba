"""The newest refusal of each box: one that only sends what is refused is not silent, and shown as refused."""

from typing import Final

from alembic import op

from migrations.isolation import API, EVERYBODY, INGEST, grant, open_to, protect, unprotect

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

# Often updated, and never by an indexed column: room on the page keeps the updates there.
_TABLE: Final = """
CREATE TABLE box_refusals (
    box_key integer PRIMARY KEY REFERENCES boxes ON DELETE CASCADE,
    refused_at timestamptz NOT NULL,
    code text NOT NULL
) WITH (fillfactor = 50)
"""
# A row is in reach where its box is.
_REACH: Final = f"({EVERYBODY} OR EXISTS (SELECT FROM boxes o WHERE o.key = box_key))"


def upgrade() -> None:
    """Keep the newest refusal of each box."""
    op.execute(_TABLE)
    protect("box_refusals", _REACH)
    open_to("box_refusals", (INGEST,))
    grant("SELECT, INSERT, UPDATE", "box_refusals", API, INGEST)


def downgrade() -> None:
    """Forget them."""
    unprotect("box_refusals")
    op.execute("DROP TABLE box_refusals")
