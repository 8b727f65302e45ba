"""Adds the function by which a standby shows the timeline that it follows: expands."""

from typing import Final

from alembic import op

from migrations.isolation import API, PUBLIC

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

# PostgreSQL shows the receiver to roles with pg_read_all_stats: the owner has it (deploy/roles.sql). NULL:
# nothing is received, or the owner may not see it. Reads do not run on such a standby.
_FUNCTION: Final = """
CREATE FUNCTION standby_timeline() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'
$$
"""


def upgrade() -> None:
    """Create the function."""
    op.execute(_FUNCTION)
    op.execute("REVOKE ALL ON FUNCTION standby_timeline() FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION standby_timeline() TO {API}, {PUBLIC}")


def downgrade() -> None:
    """Drop it. Reads then run on the primary."""
    op.execute("DROP FUNCTION standby_timeline()")
