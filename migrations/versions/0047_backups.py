"""Adds the tables of backups: the repository's list, the sealed recovery bundle, and values to be opened."""

from typing import Final

from alembic import op

from migrations.isolation import EVERYBODY, MAINTAIN, grant, open_to, protect

revision = "0047"
down_revision = "0046"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    CREATE TABLE backups (
        label text PRIMARY KEY,
        kind text NOT NULL CONSTRAINT ck_backups_kind CHECK (kind IN ('full', 'diff', 'incr')),
        finished_at timestamptz NOT NULL,
        verified_at timestamptz
    )
    """,
    """
    CREATE TABLE recovery_bundles (
        part text PRIMARY KEY CONSTRAINT ck_recovery_bundles_part CHECK (part IN ('keys', 'files')),
        recipient text NOT NULL,
        key_names text[] NOT NULL,
        unreadable text[] NOT NULL,
        sealed_at timestamptz NOT NULL,
        checked_at timestamptz NOT NULL,
        content bytea NOT NULL
    )
    """,
    """
    CREATE TABLE sealed_value_checks (
        id uuid PRIMARY KEY,
        requested_at timestamptz NOT NULL,
        sealed_values jsonb NOT NULL,
        answered_at timestamptz,
        failures text[] NOT NULL DEFAULT '{}'
    )
    """,
)
_NAMES: Final = ("backups", "recovery_bundles", "sealed_value_checks")


def upgrade() -> None:
    """Create the tables. A superuser writes `backups`, files and values; `maintain` the rest."""
    for statement in _TABLES:
        op.execute(statement)
    for name in _NAMES:
        protect(name, EVERYBODY)
        open_to(name, (MAINTAIN,))
    grant("SELECT", "backups", MAINTAIN)
    grant("SELECT, INSERT, UPDATE", "recovery_bundles", MAINTAIN)
    grant("SELECT, UPDATE (answered_at, failures), DELETE", "sealed_value_checks", MAINTAIN)


def downgrade() -> None:
    """Drop the tables. The backups themselves stay in the repository."""
    for name in _NAMES:
        op.execute(f"DROP TABLE {name}")
