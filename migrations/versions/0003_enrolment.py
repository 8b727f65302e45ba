"""Adds revoked credentials of boxes, and creates claim codes and provisioning keys.

The columns by which boxes are listed (state, battery, last_sample_at …) get no index: the pipeline updates
them, and each update would add an entry to every index of the table.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE claims (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
        name text,
        hint text NOT NULL,
        hash bytea NOT NULL UNIQUE,
        boxes integer NOT NULL CHECK (boxes > 0),
        used integer NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND boxes),
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        last_used_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX ix_claims_organisation_id ON claims (organisation_id, id)",
    "CREATE INDEX ix_claims_site_id ON claims (site_id, id)",
    """
    CREATE TABLE provisioning_keys (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        site_id uuid NOT NULL REFERENCES sites ON DELETE CASCADE,
        name text NOT NULL,
        hint text NOT NULL,
        hash bytea NOT NULL UNIQUE,
        id_prefix text,
        box_limit integer CHECK (box_limit > 0),
        used integer NOT NULL DEFAULT 0 CHECK (used >= 0),
        created_at timestamptz NOT NULL,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX ix_provisioning_keys_organisation_id ON provisioning_keys (organisation_id, id)",
    "CREATE INDEX ix_provisioning_keys_site_id ON provisioning_keys (site_id, id)",
    """
    CREATE TABLE claim_attempts (
        subject text PRIMARY KEY,
        attempts integer NOT NULL,
        until timestamptz NOT NULL
    )
    """,
    "CREATE INDEX ix_claim_attempts_until ON claim_attempts (until)",
)


def upgrade() -> None:
    op.execute("ALTER TABLE boxes ADD COLUMN revoked_at timestamptz")
    for statement in _TABLES:
        op.execute(statement)


def downgrade() -> None:
    for name in ("claim_attempts", "provisioning_keys", "claims"):
        op.execute(f"DROP TABLE {name}")
    op.execute("ALTER TABLE boxes DROP COLUMN revoked_at")
