"""The view through which the API reads samples: those of boxes that its caller reaches.

A view's columns are those of the table when it was made: whoever adds a metric makes it anew.
"""

from typing import Final

from alembic import op

from migrations.isolation import API

# The owner of the view looks at `boxes`, and is held to its policy by FORCE: the caller's reach applies.
_MAKE: Final = """
CREATE OR REPLACE VIEW tenant_samples WITH (security_barrier) AS
SELECT s.* FROM samples s
WHERE (SELECT vigie_reaches_all()) OR EXISTS (SELECT FROM boxes b WHERE b.key = s.box_key)
"""
DROP_VIEW: Final = "DROP VIEW IF EXISTS tenant_samples"


def make_samples_view() -> None:
    """Make the view, or give it the columns that were added to the table."""
    op.execute(_MAKE)
    op.execute(f"GRANT SELECT ON tenant_samples TO {API}")


def renew_samples_view() -> None:
    """Give the view the columns that were added to the table, where there is one by now."""
    if op.get_bind().exec_driver_sql("SELECT to_regclass('tenant_samples')").scalar() is not None:
        make_samples_view()
