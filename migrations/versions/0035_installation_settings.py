"""Adds settings of the installation that administrators change by the API, and mailed invitations.

`installation_settings` has a row for the mail server and one for the public address: the audit log may show
`value`; `private` is personal data (an account, a sender); `secret` is sealed. An invitation's token is
stored, sealed, until its mail is sent or given up.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import API, DELIVER, EVERYBODY, MAINTAIN, grant, open_to, protect

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

_TABLE: Final = """
CREATE TABLE installation_settings (
    name text PRIMARY KEY CHECK (name IN ('mail', 'public_url')),
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    value jsonb NOT NULL,
    private jsonb,
    secret text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
)
"""
_LOCK: Final = "LOCK TABLE organisations, invitations IN ACCESS EXCLUSIVE MODE"
_INVITATIONS: Final = """
ALTER TABLE invitations
    ADD COLUMN language text NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'fr')),
    ADD COLUMN mail_status text CHECK (mail_status IN ('pending', 'sent', 'failed')),
    ADD COLUMN mail_reason text,
    ADD COLUMN mailed_at timestamptz,
    ADD COLUMN mail_attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN mail_due_at timestamptz,
    ADD COLUMN mail_token text
"""
_COLUMNS: Final = (
    *("language", "mail_status", "mail_reason", "mailed_at", "mail_attempts", "mail_due_at", "mail_token"),
)
_INDEX: Final = (
    "CREATE INDEX ix_invitations_mail_due ON invitations (mail_due_at) WHERE mail_status = 'pending'"
)
_FOR_DELIVER: Final = (
    "SELECT (id, organisation_id, email, role, invited_by_name, expires_at, accepted_at, revoked_at, "
    "language, mail_status, mail_reason, mail_attempts, mail_due_at, mail_token), "
    "UPDATE (mail_status, mail_reason, mailed_at, mail_attempts, mail_due_at, mail_token)"
)
_OPENED: Final = {"organisations": "true", "invitations": "mail_status IS NOT NULL"}


def upgrade() -> None:
    """Create settings, and the columns of invitations' mails."""
    op.execute(_LOCK)
    op.execute(_TABLE)
    op.execute(_INVITATIONS)
    op.execute(_INDEX)
    protect("installation_settings", EVERYBODY)
    open_to("installation_settings", (DELIVER, MAINTAIN))
    grant("SELECT, INSERT, UPDATE, DELETE", "installation_settings", API)
    grant("SELECT", "installation_settings", DELIVER, MAINTAIN)
    grant("UPDATE (secret)", "installation_settings", MAINTAIN)
    # The deliver role reads only invitations with a mail, and only the columns for it.
    for table, rows in _OPENED.items():
        op.execute(f"CREATE POLICY mails ON {table} TO {DELIVER} USING ({rows})")
    grant(_FOR_DELIVER, "invitations", DELIVER)
    grant("SELECT (id, name)", "organisations", DELIVER)
    grant("SELECT (mail_token), UPDATE (mail_token)", "invitations", MAINTAIN)
    watch(
        "installation_settings", "setting", ("value",), hidden=("private", "secret"), key="name", name="name"
    )


def downgrade() -> None:
    """Drop the settings; the environment has the values."""
    op.execute(_LOCK)
    unwatch("installation_settings")
    op.execute("DROP TABLE installation_settings")
    for table in _OPENED:
        op.execute(f"DROP POLICY mails ON {table}")
    op.execute(f"REVOKE ALL ON organisations, invitations FROM {DELIVER}")
    op.execute("DROP INDEX ix_invitations_mail_due")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE invitations DROP COLUMN {column}")
