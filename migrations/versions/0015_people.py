"""Creates users, memberships, invitations and sessions.

Secrets are stored as hashes: passwords with argon2id, tokens with SHA-256, because tokens are random and a
dictionary cannot contain them. Only the API reads people; the maintain role deletes expired rows, and cannot
read other columns.
"""

from typing import Final

from alembic import op

from migrations.isolation import (
    API,
    EVERYBODY,
    MAINTAIN,
    grant,
    open_to,
    organisation_in_reach,
    protect,
    unprotect,
)

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TABLES: Final = (
    """
    CREATE TABLE users (
        id uuid PRIMARY KEY,
        email text NOT NULL CONSTRAINT uq_users_email UNIQUE,
        name text NOT NULL,
        locale text NOT NULL,
        password_hash text,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        disabled_at timestamptz,
        last_sign_in_at timestamptz,
        CONSTRAINT ck_users_email CHECK (email = lower(email)),
        CONSTRAINT ck_users_locale CHECK (locale IN ('en', 'fr'))
    )
    """,
    # RESTRICT: a person is deleted only without memberships, so a concurrent new one prevents the deletion.
    """
    CREATE TABLE memberships (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        role text NOT NULL,
        site_ids uuid[],
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        CONSTRAINT uq_memberships_user_id_organisation_id UNIQUE (user_id, organisation_id),
        CONSTRAINT ck_memberships_role CHECK (role IN ('owner', 'operator', 'viewer', 'installer')),
        CONSTRAINT ck_memberships_owner CHECK (role <> 'owner' OR site_ids IS NULL)
    )
    """,
    "CREATE INDEX ix_memberships_organisation_id ON memberships (organisation_id, id)",
    """
    CREATE TABLE invitations (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        email text NOT NULL,
        role text NOT NULL,
        site_ids uuid[],
        token_hash bytea NOT NULL CONSTRAINT uq_invitations_token_hash UNIQUE,
        invited_by uuid NOT NULL,
        invited_by_name text NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        accepted_at timestamptz,
        revoked_at timestamptz,
        CONSTRAINT ck_invitations_email CHECK (email = lower(email)),
        CONSTRAINT ck_invitations_role CHECK (role IN ('owner', 'operator', 'viewer', 'installer')),
        CONSTRAINT ck_invitations_owner CHECK (role <> 'owner' OR site_ids IS NULL)
    )
    """,
    "CREATE INDEX ix_invitations_organisation_id ON invitations (organisation_id, id)",
    "CREATE INDEX ix_invitations_email ON invitations (email)",
    """
    CREATE TABLE user_sessions (
        id uuid PRIMARY KEY,
        token_hash bytea NOT NULL CONSTRAINT uq_user_sessions_token_hash UNIQUE,
        user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        organisation_id uuid NOT NULL REFERENCES organisations ON DELETE CASCADE,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        last_used_at timestamptz NOT NULL,
        address text NOT NULL,
        user_agent text NOT NULL,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX ix_user_sessions_user_id ON user_sessions (user_id, id)",
    "CREATE INDEX ix_user_sessions_organisation_id ON user_sessions (organisation_id)",
    """
    CREATE TABLE password_resets (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        token_hash bytea NOT NULL CONSTRAINT uq_password_resets_token_hash UNIQUE,
        created_by uuid NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz
    )
    """,
    "CREATE INDEX ix_password_resets_user_id ON password_resets (user_id)",
    """
    CREATE TABLE oidc_identities (
        issuer text NOT NULL,
        subject text NOT NULL,
        user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        created_at timestamptz NOT NULL,
        CONSTRAINT pk_oidc_identities PRIMARY KEY (issuer, subject)
    )
    """,
    "CREATE INDEX ix_oidc_identities_user_id ON oidc_identities (user_id)",
)
# The caller's user, for rows of their own in any organisation.
_USER: Final = """
CREATE FUNCTION vigie_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN actor ->> 'kind' = 'user' THEN (actor ->> 'id')::uuid END
    FROM (SELECT nullif(current_setting('vigie.actor', true), '')::jsonb AS actor) asking
$$
"""
_MINE: Final = "user_id = (SELECT vigie_user())"
# A person is visible if one of their memberships is, which have a policy of their own.
_SHARED: Final = "EXISTS (SELECT FROM memberships m WHERE m.user_id = {})"
_NAMES: Final = (
    *("oidc_identities", "password_resets", "user_sessions", "invitations", "memberships", "users"),
)


def _isolate() -> None:
    there = organisation_in_reach()
    shared = _SHARED.format("users.id")
    protect("users", f"({EVERYBODY} OR id = (SELECT vigie_user()) OR {shared})")
    # A person sees their own memberships; only callers with the organisation in scope change them.
    protect("memberships", f"({there} OR {_MINE})", check=there)
    protect("invitations", there)
    protect("user_sessions", f"({EVERYBODY} OR {_MINE})")
    shared = _SHARED.format("password_resets.user_id")
    protect("password_resets", f"({EVERYBODY} OR {_MINE} OR {shared})")
    protect("oidc_identities", f"({EVERYBODY} OR {_MINE})")


def upgrade() -> None:
    """Create the tables, their policies and privileges."""
    for statement in _TABLES:
        op.execute(statement)
    op.execute(_USER)
    _isolate()
    grant("SELECT, INSERT, UPDATE, DELETE", ", ".join(_NAMES), API)
    # Columns with which expired rows are found, without those that identify a person.
    grant("SELECT (id, created_at), DELETE", "users", MAINTAIN)
    grant("SELECT (user_id)", "memberships", MAINTAIN)
    grant("SELECT (id, expires_at, accepted_at, revoked_at), DELETE", "invitations", MAINTAIN)
    grant("SELECT (id, expires_at, last_used_at, revoked_at), DELETE", "user_sessions", MAINTAIN)
    grant("SELECT (id, expires_at, used_at), DELETE", "password_resets", MAINTAIN)
    for name in ("users", "memberships", "invitations", "user_sessions", "password_resets"):
        open_to(name, [MAINTAIN])


def downgrade() -> None:
    """Drop all tables of people."""
    # Their policies read memberships.
    for name in ("users", "password_resets"):
        unprotect(name)
    for name in _NAMES:
        op.execute(f"DROP TABLE {name}")
    op.execute("DROP FUNCTION vigie_user()")
