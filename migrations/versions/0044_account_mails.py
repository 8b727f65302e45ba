"""Adds the mails to people about changes of their second factors.

A row is a mail that waits: it is deleted when the mail was sent or is given up. It has the address of the
time of the change, so that the deliver role needs no rights on `users`.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, DELIVER, EVERYBODY, grant, open_to, protect

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

# Locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"
_TABLE: Final = """
CREATE TABLE account_mails (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind text NOT NULL CONSTRAINT ck_account_mails_kind CHECK (kind IN ('totp_added', 'totp_removed',
        'passkey_added', 'passkey_removed', 'factors_removed', 'recovery_codes_replaced',
        'recovery_code_used')),
    email text NOT NULL,
    language text NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0
)
"""
_INDEXES: Final = (
    "CREATE INDEX ix_account_mails_due_at ON account_mails (due_at)",
    "CREATE INDEX ix_account_mails_user_id ON account_mails (user_id)",
)
_MINE: Final = f"({EVERYBODY} OR user_id = (SELECT vigie_user()))"


def upgrade() -> None:
    """Create the table."""
    op.execute(_LOCK)
    op.execute(_TABLE)
    for statement in _INDEXES:
        op.execute(statement)
    protect("account_mails", _MINE)
    open_to("account_mails", (DELIVER,))
    grant("INSERT", "account_mails", API)
    grant("SELECT, UPDATE (due_at, attempts), DELETE", "account_mails", DELIVER)


def downgrade() -> None:
    """Drop the table: mails that wait are not sent."""
    op.execute(_LOCK)
    op.execute("DROP TABLE account_mails")
