"""Creates the view through which the API reads the samples of boxes in the caller's tenant scope.

A view's columns are fixed at its creation, so a migration that adds a metric creates it again.
"""

from typing import Final

from alembic import op

from migrations.isolation import API

# The view's owner reads `boxes`, and FORCE applies the policy to the owner: so the caller's scope applies.
_MAKE: Final = """
CREATE OR REPLACE VIEW tenant_samples WITH (security_barrier) AS
SELECT s.* FROM samples s
WHERE (SELECT vigie_reaches_all()) OR EXISTS (SELECT FROM boxes b WHERE b.key = s.box_key)
"""
DROP_VIEW: Final = "DROP VIEW IF EXISTS tenant_samples"


def make_samples_view() -> None:
    """Create the view, or add new columns of the table to it."""
    op.execute(_MAKE)
    op.execute(f"GRANT SELECT ON tenant_samples TO {API}")


def renew_samples_view() -> None:
    """Add new columns of the table to the view, if it exists."""
    if op.get_bind().exec_driver_sql("SELECT to_regclass('tenant_samples')").scalar() is not None:
        make_samples_view()
