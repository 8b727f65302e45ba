"""Creates the views of sites for OGC API Features."""

from alembic import op

from migrations.open_data_views import SCHEMA, SITES, make_site_views

revision = "0058"
down_revision = "0057"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the views."""
    make_site_views()


def downgrade() -> None:
    """Drop the views."""
    op.execute(f"DROP VIEW {SCHEMA}.{SITES}")
    op.execute(f"DROP VIEW {SITES}")
