"""Limits open data of moved boxes by time, and keeps statistics of small tables. Expands.

Roll-ups of the hour of a move are not shown. The program needs the time of the move to read samples instead.

By default autovacuum analyses a table after 50 changed rows, which an installation of one city never reaches.
Without statistics the planner chose nested loops over all boxes in the views of SensorThings: requests of
20,000 boxes needed more than ten seconds.
"""

from typing import Final

from alembic import op

from migrations.open_data_views import make_open_data_views

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None

# The tables that these views join to boxes.
_SMALL: Final = ("organisations", "sites", "site_purposes", "grants")
_LOCKS: Final = (
    "LOCK TABLE samples IN ACCESS SHARE MODE",
    f"LOCK TABLE {', '.join(_SMALL)} IN SHARE UPDATE EXCLUSIVE MODE",
)
_THRESHOLDS: Final = {"autovacuum_analyze_threshold": "0", "autovacuum_analyze_scale_factor": "0.02"}


def upgrade() -> None:
    """Replace the view of boxes, and have the tables analysed after each change."""
    for lock in _LOCKS:
        op.execute(lock)
    make_open_data_views()
    settings = ", ".join(f"{name} = {value}" for name, value in _THRESHOLDS.items())
    for table in _SMALL:
        op.execute(f"ALTER TABLE {table} SET ({settings})")
        op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    """Restore the thresholds. The view stays: programs read its columns as before."""
    op.execute(_LOCKS[1])
    for table in _SMALL:
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(_THRESHOLDS)})")
