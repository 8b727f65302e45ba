"""Records which programs a schema can still serve, so that an older one knows whether it may run on it.

A migration that only expands calls nothing. One that contracts names the newest revision that the oldest
program knows that can run on the new schema:

    OLDEST_PROGRAM = "0049"

    def upgrade() -> None:
        require_program(OLDEST_PROGRAM)
        op.execute("ALTER TABLE … DROP COLUMN …")

`tests/unit/migrations/test_expand_only.py` refuses migrations that contract without it.
"""

from typing import Final

from alembic import op

_UPDATE: Final = "UPDATE alembic_version SET oldest_program = '{revision}'"


def require_program(revision: str) -> None:
    """Record that programs which do not know this revision can no longer run.

    Args:
        revision: four digits, as in the names of the migrations.
    """
    op.execute(_UPDATE.format(revision=revision))
