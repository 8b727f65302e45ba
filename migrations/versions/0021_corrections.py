"""Corrections of what boxes measure: definitions with a time for which they hold. Samples stay as they came.

That no two of a kind overlap is seen to by whoever adds one, with the box locked: an exclusion constraint
would need the extension btree_gist, which not every server has.
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
# As the readers of a series look for them; lists of a box are short.
_INDEX: Final = "CREATE UNIQUE INDEX uq_corrections ON corrections (box_key, metric, kind, valid_from)"
# As events: the organisation's own, and at a box that is in reach.
_AT_BOX: Final = (
    f"{organisation_in_reach()} AND ({EVERYBODY} OR EXISTS (SELECT FROM boxes b WHERE b.key = box_key))"
)


def upgrade() -> None:
    """Make the table, hold everybody to its box's organisation, and record its changes."""
    op.execute(_TABLE)
    op.execute(_INDEX)
    protect("corrections", _AT_BOX)
    grant("SELECT, INSERT, UPDATE, DELETE", "corrections", API)
    # A note may be a person's, or of persons: it stays where it can be removed.
    watch(
        "corrections",
        "correction",
        ("organisation_id", "box_key", "metric", "kind", "parameters", "valid_from", "valid_until"),
        hidden=("note",),
        name="",
    )


def downgrade() -> None:
    """Forget the corrections: what they were made of is there still."""
    unwatch("corrections")
    unprotect("corrections")
    op.execute("DROP TABLE corrections")
