"""Records the oldest program that can run on the schema: expands.

`alembic_version.oldest_program` is the newest revision that this program knows. Programs up to revision
0046 do not read it.
"""

from typing import Final

from alembic import op

revision = "0049"
down_revision = "0048"
branch_labels = None
depends_on = None

# Migrations 0047 to 0049 only expand.
_COLUMN: Final = "ALTER TABLE alembic_version ADD COLUMN oldest_program text NOT NULL DEFAULT '0046'"


def upgrade() -> None:
    """Add the column."""
    op.execute(_COLUMN)


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE alembic_version DROP COLUMN oldest_program")
