"""Adds second factors of people, and organisations that require them.

`totp_secrets`, `passkeys` and `recovery_codes` are rows of a person. `users.second_factor_at` says since when
the person has a factor, so that authentication reads no further table. `user_sessions.method` says how the
person signed in, and `authenticated_at` when they last proved in it who they are. Former sessions of people
without a password began at an OpenID Connect provider. Of the others that is not known, so they count as
sign-ins by password.

`used_challenges` has the challenges that were answered, until they expire.
"""

from typing import Final

from alembic import op

from migrations.audit import unwatch, watch
from migrations.isolation import API, EVERYBODY, MAINTAIN, grant, open_to, protect

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

# All tables are locked at the start, so that a lock timeout fails before anything is changed.
_LOCK: Final = "LOCK TABLE organisations, users, user_sessions IN ACCESS EXCLUSIVE MODE"
_TABLES: Final = (
    """
    CREATE TABLE totp_secrets (
        user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        secret text NOT NULL,
        last_step bigint,
        created_at timestamptz NOT NULL,
        confirmed_at timestamptz
    )
    """,
    """
    CREATE TABLE passkeys (
        id uuid PRIMARY KEY,
        user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
        credential_id bytea NOT NULL CONSTRAINT uq_passkeys_credential_id UNIQUE,
        public_key bytea NOT NULL,
        sign_count bigint NOT NULL,
        transports text[] NOT NULL,
        name text NOT NULL,
        created_at timestamptz NOT NULL,
        last_used_at timestamptz,
        CONSTRAINT ck_passkeys_credential_id CHECK (length(credential_id) BETWEEN 1 AND 1023)
    )
    """,
    "CREATE INDEX ix_passkeys_user_id ON passkeys (user_id, id)",
    """
    CREATE TABLE recovery_codes (
        user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
        code_hashes bytea[] NOT NULL,
        created_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE used_challenges (
        nonce_hash bytea PRIMARY KEY,
        expires_at timestamptz NOT NULL
    )
    """,
)
_COLUMNS: Final = (
    "ALTER TABLE organisations ADD COLUMN second_factor_required boolean NOT NULL DEFAULT false",
    "ALTER TABLE users ADD COLUMN second_factor_at timestamptz",
    # Defaults, as processes of the former version may still open sessions.
    """
    ALTER TABLE user_sessions ADD COLUMN authenticated_at timestamptz DEFAULT now(),
        ADD COLUMN method text NOT NULL DEFAULT 'password'
        CONSTRAINT ck_user_sessions_method CHECK (method IN ('password', 'passkey', 'provider'))
    """,
    # The columns are watched afterwards: the log has these sign-ins already.
    """
    UPDATE user_sessions s SET authenticated_at = s.created_at,
        method = CASE WHEN u.password_hash IS NULL THEN 'provider' ELSE 'password' END
    FROM users u WHERE u.id = s.user_id
    """,
)
_OWN: Final = ("recovery_codes", "passkeys", "totp_secrets")
_MINE: Final = f"({EVERYBODY} OR user_id = (SELECT vigie_user()))"
# The nouns whose `user_id` decides in which logs they are recorded.
_AUDIENCE: Final = """
CREATE OR REPLACE FUNCTION audit_audience(noun text, whose uuid, known jsonb) RETURNS uuid[]
LANGUAGE sql AS $$
    SELECT CASE WHEN noun IN ({nouns}) THEN audit_places(whose)
        WHEN noun = 'organisation' AND known ->> 'parent_id' IS NOT NULL
        THEN ARRAY[whose, (known ->> 'parent_id')::uuid]
        ELSE ARRAY[coalesce(whose, '00000000-0000-0000-0000-000000000000')] END
$$
"""
_NOUNS: Final = ("user", "password_reset", "identity")
_NEW_NOUNS: Final = ("totp", "passkey", "recovery_codes")
_ORGANISATION: Final = (
    *("name", "platform", "kind", "parent_id"),
    *("quota_sites", "quota_boxes", "quota_api_keys", "quota_webhooks", "quota_clients"),
    "quota_samples_per_day",
)
_SESSION: Final = ("user_id", "organisation_id", "expires_at", "revoked_at")
# Table → the events that change access (migration 0039), formerly and now.
_NOTIFYING: Final = {
    "organisations": (
        "INSERT OR UPDATE OF parent_id, kind, platform OR DELETE",
        "INSERT OR UPDATE OF parent_id, kind, platform, second_factor_required OR DELETE",
    ),
    "users": (
        "UPDATE OF name, disabled_at OR DELETE",
        "UPDATE OF name, disabled_at, second_factor_at OR DELETE",
    ),
}


def _audience(nouns: tuple[str, ...]) -> None:
    op.execute(_AUDIENCE.format(nouns=", ".join(f"'{noun}'" for noun in nouns)))


def _notify(position: int) -> None:
    for table, events in _NOTIFYING.items():
        op.execute(f"DROP TRIGGER notify_access_changed ON {table}")
        op.execute(
            f"CREATE TRIGGER notify_access_changed AFTER {events[position]} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION notify_access_changed()"
        )


def _watch_sessions(*more: str) -> None:
    watch("user_sessions", "session", (*_SESSION, *more), hidden=("token_hash", "user_agent"), name="")


def _watch_factors(
    table: str, noun: str, recorded: tuple[str, ...], hidden: tuple[str, ...], *, key: str
) -> None:
    watch(table, noun, recorded, hidden=hidden, owner="user_id", key=key, name="")


def upgrade() -> None:
    """Create the tables and columns, their policies and privileges."""
    op.execute(_LOCK)
    for statement in (*_TABLES, *_COLUMNS):
        op.execute(statement)
    for table in _OWN:
        protect(table, _MINE)
    protect("used_challenges", EVERYBODY)
    grant("SELECT, INSERT, UPDATE, DELETE", ", ".join(_OWN), API)
    grant("INSERT", "used_challenges", API)
    # The maintain role re-encrypts secrets, and deletes expired challenges.
    grant("SELECT (user_id, secret), UPDATE (secret)", "totp_secrets", MAINTAIN)
    grant("SELECT (expires_at), DELETE", "used_challenges", MAINTAIN)
    open_to("totp_secrets", [MAINTAIN])
    open_to("used_challenges", [MAINTAIN])
    _notify(1)
    _audience((*_NOUNS, *_NEW_NOUNS))
    watch("organisations", "organisation", (*_ORGANISATION, "second_factor_required"), owner="id")
    _watch_sessions("authenticated_at", "method")
    _watch_factors("totp_secrets", "totp", ("user_id", "confirmed_at"), ("secret",), key="user_id")
    # The name of a passkey often names its person.
    _watch_factors("passkeys", "passkey", ("user_id",), ("credential_id", "public_key", "name"), key="id")
    _watch_factors("recovery_codes", "recovery_codes", ("user_id",), ("code_hashes",), key="user_id")


def downgrade() -> None:
    """Drop second factors: people sign in with their password alone."""
    op.execute(_LOCK)
    for table in _OWN:
        unwatch(table)
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP TABLE used_challenges")
    _audience(_NOUNS)
    _notify(0)
    watch("organisations", "organisation", _ORGANISATION, owner="id")
    _watch_sessions()
    op.execute("ALTER TABLE organisations DROP COLUMN second_factor_required")
    op.execute("ALTER TABLE users DROP COLUMN second_factor_at")
    # Nobody who has signed in with a passkey alone has shown a password.
    op.execute("DELETE FROM user_sessions WHERE method = 'passkey'")
    op.execute("ALTER TABLE user_sessions DROP COLUMN authenticated_at, DROP COLUMN method")
