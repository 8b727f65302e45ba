"""Allows several accounts per e-mail address, because addresses are not verified.

A person who accepts an invitation without the password of the existing account gets a new account. Within an
organisation an address still belongs to one member; the program checks it.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the unique index on addresses."""
    op.execute("ALTER TABLE users DROP CONSTRAINT uq_users_email")
    op.execute("CREATE INDEX ix_users_email ON users (email)")


def downgrade() -> None:
    """Make addresses unique again: the first account retains its own, the others get one with their id."""
    op.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
    # Policies apply to the migrating role too.
    op.execute("SELECT set_config('vigie.reach', 'all', true)")
    op.execute("""
        UPDATE users later SET email = replace(email, '@', '+' || id || '@')
        WHERE EXISTS (SELECT FROM users first WHERE first.email = later.email AND first.id < later.id)
    """)
    op.execute("DROP INDEX ix_users_email")
    op.execute("ALTER TABLE users ADD CONSTRAINT uq_users_email UNIQUE (email)")
