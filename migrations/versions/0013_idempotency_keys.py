"""Creates the table of responses to POSTs with an `Idempotency-Key`, sealed and stored for a day.

Only the API reads them. The maintain role deletes expired ones, and seals all again when the key is rotated.
"""

from typing import Final

from alembic import op

from migrations.isolation import API, MAINTAIN, grant, open_to, organisation_in_reach, protect

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TABLE: Final = """
CREATE TABLE idempotency_keys (
    organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
    caller_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    state text NOT NULL,
    holder uuid NOT NULL,
    claimed_at timestamptz NOT NULL,
    status smallint,
    answer text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (organisation_id, caller_id, key),
    CONSTRAINT ck_idempotency_keys_state CHECK (state IN ('running', 'carried_out', 'answered')),
    CONSTRAINT ck_idempotency_keys_answer
        CHECK ((state = 'answered') = (answer IS NOT NULL) AND (answer IS NULL) = (status IS NULL))
)
"""


def upgrade() -> None:
    """Create the table, its policies, and the roles' privileges."""
    op.execute(_TABLE)
    op.execute("CREATE INDEX ix_idempotency_keys_expires_at ON idempotency_keys (expires_at)")
    protect("idempotency_keys", organisation_in_reach())
    open_to("idempotency_keys", [MAINTAIN])
    grant("SELECT, INSERT, UPDATE, DELETE", "idempotency_keys", API)
    grant("SELECT, UPDATE, DELETE", "idempotency_keys", MAINTAIN)


def downgrade() -> None:
    """Drop the responses."""
    op.execute("DROP TABLE idempotency_keys")
