"""An e-mail address can have several accounts: nobody has shown that it is theirs.

Whoever accepts an invitation without knowing the account that is there gets one of their own. In an
organisation an address is one member still, which the program sees to.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let an address have several accounts."""
    op.execute("ALTER TABLE users DROP CONSTRAINT uq_users_email")
    op.execute("CREATE INDEX ix_users_email ON users (email)")


def downgrade() -> None:
    """Each address has one account again, the first; the others get an address with their id in it."""
    op.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
    # Whoever migrates is held to the policies too.
    op.execute("SELECT set_config('vigie.reach', 'all', true)")
    op.execute("""
        UPDATE users later SET email = replace(email, '@', '+' || id || '@')
        WHERE EXISTS (SELECT FROM users first WHERE first.email = later.email AND first.id < later.id)
    """)
    op.execute("DROP INDEX ix_users_email")
    op.execute("ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE (email)")
