"""Creates the views by which the recipients of grants read SensorThings. Expands.

The views of tenants and of open data get the columns `shown_from` and `shown_until`.
"""

from typing import Final

from alembic import op

from migrations.granted_views import SCHEMA, make_granted_views
from migrations.open_data_views import make_open_data_views

revision = "0060"
down_revision = "0059"
branch_labels = None
depends_on = None

_LOCK: Final = "LOCK TABLE samples IN ACCESS SHARE MODE"


def upgrade() -> None:
    """Create the views, and add the columns."""
    op.execute(_LOCK)
    make_open_data_views()
    make_granted_views()


def downgrade() -> None:
    """Drop the views. The columns stay: their readers do not name them."""
    op.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
