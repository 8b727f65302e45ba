"""Counts alerts of the public register by their highest severity. Expands.

An alert whose severity decreased before its end left the count of its highest severity. Reports count by the
highest severity, too.
"""

from typing import Final

from alembic import op

revision = "0063"
down_revision = "0062"
branch_labels = None
depends_on = None

_MONTH: Final = "now() - interval '30 days'"
_YEAR: Final = "now() - interval '365 days'"


def _count_by(severity: str) -> None:
    # Privileges of the view stay.
    op.execute(
        "CREATE OR REPLACE VIEW public_alerts WITH (security_barrier) AS "  # noqa: S608 (constants)
        f"SELECT a.site_id, a.{severity} AS severity, count(*) AS year, "
        f"count(*) FILTER (WHERE a.started_at > {_MONTH}) AS month "
        f"FROM alerts a WHERE NOT a.dry_run AND a.started_at > {_YEAR} GROUP BY a.site_id, a.{severity}"
    )


def upgrade() -> None:
    """Replace the view of counts."""
    _count_by("highest_severity")


def downgrade() -> None:
    """Count by the last severity again."""
    _count_by("severity")
