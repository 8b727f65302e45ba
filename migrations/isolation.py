"""How a migration keeps tenants apart: row-level security, and what each process's role may do.

The processes work under the roles `vigie_api`, `vigie_ingest`, `vigie_deliver` and `vigie_maintain`; none of
them owns a table. The API says with each transaction whom it works for:

    vigie.reach   `all`, or ids of organisations with commas; unset: nothing can be seen
    vigie.sites   ids of sites with commas, where the caller is limited to these; unset: it is not

Policies hold everybody to it, owners too (FORCE). The other processes work for all organisations: a policy
opens to each of them just the tables that it needs, and grants say what it may do there.
"""

from collections.abc import Sequence
from typing import Final

from alembic import op

API: Final = "vigie_api"
INGEST: Final = "vigie_ingest"
DELIVER: Final = "vigie_deliver"
MAINTAIN: Final = "vigie_maintain"
ROLES: Final = (API, INGEST, DELIVER, MAINTAIN)

EVERYBODY: Final = "(SELECT vigie_reaches_all())"
"""The caller works for the whole platform."""


def organisation_in_reach(column: str = "organisation_id") -> str:
    """A condition: the row's organisation is one of the caller's. The subqueries run once for a statement."""
    return f"({EVERYBODY} OR {column} = ANY ((SELECT vigie_organisations())::uuid[]))"


def site_in_reach(column: str = "site_id") -> str:
    """A condition: the caller is not limited to sites, or to this one among others."""
    return f"((SELECT vigie_sites()) IS NULL OR {column} = ANY ((SELECT vigie_sites())::uuid[]))"


def protect(table: str, condition: str, *, check: str | None = None) -> None:
    """Hold everybody to a condition on a table's rows, its owner too.

    Args:
        table: Its name.
        condition: What can be seen, changed and deleted.
        check: What new and changed rows have to fulfil; the condition by default.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY reach ON {table} USING ({condition}) WITH CHECK ({check or condition})")


def unprotect(table: str) -> None:
    """Undo `protect` and `open_to`."""
    op.execute(f"DROP POLICY IF EXISTS reach ON {table}")
    op.execute(f"DROP POLICY IF EXISTS system ON {table}")
    op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")


def open_to(table: str, roles: Sequence[str]) -> None:
    """Show all rows of a protected table to roles that work for everybody; what they may do is granted."""
    op.execute(f"CREATE POLICY system ON {table} TO {', '.join(roles)} USING (true) WITH CHECK (true)")


def grant(privileges: str, tables: str, *roles: str) -> None:
    """Grant privileges on tables (names with commas)."""
    op.execute(f"GRANT {privileges} ON {tables} TO {', '.join(roles)}")
