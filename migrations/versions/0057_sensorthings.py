"""Creates the views of SensorThings for tenants and for open data, and stores the register's numbers."""

from typing import Final

from alembic import op

from migrations.open_data_views import NUMBER_FUNCTION, SCHEMA, TENANT_VIEWS, make_open_data_views

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE samples IN ACCESS SHARE MODE"
# A column: policies do not let an index on an expression with a function decide which rows are read.
_COLUMN: Final = (
    "ALTER TABLE boxes ADD COLUMN register_number text NOT NULL"
    " GENERATED ALWAYS AS (register_number(key, created_at)) STORED"
)
_INDEX: Final = "CREATE INDEX ix_boxes_register_number ON boxes (register_number)"


def upgrade() -> None:
    """Create the numbers and the views."""
    op.execute(_LOCK)
    op.execute(NUMBER_FUNCTION)
    op.execute(_COLUMN)
    op.execute(_INDEX)
    make_open_data_views()


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    for name in TENANT_VIEWS:
        op.execute(f"DROP VIEW {name}")
    op.execute("ALTER TABLE boxes DROP COLUMN register_number")
    op.execute("DROP FUNCTION register_number(integer, timestamptz)")
