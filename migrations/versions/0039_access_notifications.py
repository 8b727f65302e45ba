"""Announces changes of access, so that API processes drop the callers that they have cached.

Statement triggers notify the channel `vigie_access` when keys, sessions, members or organisations change in
a way that decides who may do what. Times of last use, which change often, do not.
"""

from typing import Final

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

_FUNCTION: Final = """
CREATE FUNCTION notify_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('vigie_access', '');
    RETURN NULL;
END $$
"""
# Table → the events that change access. New keys and sessions do not: an unknown token is not cached.
_EVENTS: Final = {
    "api_keys": (
        "UPDATE OF organisation_id, name, scopes, platform, site_ids, expires_at, revoked_at OR DELETE"
    ),
    "memberships": "INSERT OR UPDATE OR DELETE",
    "organisations": "INSERT OR UPDATE OF parent_id, kind, platform OR DELETE",
    "user_sessions": "UPDATE OF organisation_id, expires_at, revoked_at OR DELETE",
    "users": "UPDATE OF name, disabled_at OR DELETE",
}


def upgrade() -> None:
    """Create the triggers."""
    op.execute(_FUNCTION)
    for table, events in _EVENTS.items():
        op.execute(
            f"CREATE TRIGGER notify_access_changed AFTER {events} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION notify_access_changed()"
        )


def downgrade() -> None:
    """Drop the triggers."""
    for table in _EVENTS:
        op.execute(f"DROP TRIGGER notify_access_changed ON {table}")
    op.execute("DROP FUNCTION notify_access_changed()")
