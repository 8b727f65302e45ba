"""Creates corrections of measurements, each with a validity period. Stored samples do not change.

The program checks, with the box locked, that no two corrections of a kind overlap: an exclusion constraint
would need the extension btree_gist, which some servers lack.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import API, EVERYBODY, grant, organisation_in_reach, protect, unprotect

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TABLE: Final = """
CREATE TABLE corrections (
    id uuid PRIMARY KEY,
    box_key integer NOT NULL REFERENCES boxes ON DELETE CASCADE,
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE RESTRICT,
    metric text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('linear', 'humidity')),
    parameters jsonb NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_until timestamptz CHECK (valid_until > valid_from),
    note text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
"""
# Serves the queries of series; lists of one box are short.
_INDEX: Final = "CREATE UNIQUE INDEX uq_corrections ON corrections (box_key, metric, kind, valid_from)"
# As for events: the organisation and the box must be in the tenant scope.
_AT_BOX: Final = (
    f"{organisation_in_reach()} AND ({EVERYBODY} OR EXISTS (SELECT FROM boxes b WHERE b.key = box_key))"
)


def upgrade() -> None:
    """Create the table with its policies and audit triggers."""
    op.execute(_TABLE)
    op.execute(_INDEX)
    protect("corrections", _AT_BOX)
    grant("SELECT, INSERT, UPDATE, DELETE", "corrections", API)
    # A note may contain personal data: it is stored only where it can be removed.
    watch(
        "corrections",
        "correction",
        ("organisation_id", "box_key", "metric", "kind", "parameters", "valid_from", "valid_until"),
        hidden=("note",),
        name="",
    )


def downgrade() -> None:
    """Drop the corrections; the samples remain."""
    unwatch("corrections")
    unprotect("corrections")
    op.execute("DROP TABLE corrections")
