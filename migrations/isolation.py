"""Creates row-level security policies, and grants each process's database role its privileges.

The processes use the roles `vigie_api`, `vigie_ingest`, `vigie_deliver` and `vigie_maintain`; none of them
owns a table. The API sets the tenant scope in each transaction:

    vigie.reach   `all`, or ids of organisations, separated by commas; unset: no row is visible
    vigie.sites   ids of sites, separated by commas, if the caller is limited to sites; unset: no limit

Policies apply to everybody, owners too (FORCE). The other processes work for all organisations: a policy
opens the tables that each of them needs, and grants limit its operations.
"""

from collections.abc import Sequence
from typing import Final

from alembic import op

API: Final = "vigie_api"
INGEST: Final = "vigie_ingest"
DELIVER: Final = "vigie_deliver"
MAINTAIN: Final = "vigie_maintain"
ROLES: Final = (API, INGEST, DELIVER, MAINTAIN)
PUBLIC: Final = "vigie_public"
"""The role that the API assumes to read the public register: it may read published views, and no table."""

# Roles belong to the server, and its other databases may use them too. So no downgrade drops them.
_MAKE_ROLES: Final = """
DO $$
DECLARE missing text;
BEGIN
    SELECT string_agg(name, ', ' ORDER BY name) INTO missing FROM unnest('{@roles}'::text[]) AS needed (name)
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name);
    IF missing IS NULL THEN RETURN; END IF;
    IF NOT (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'the roles % are missing', missing
        USING HINT = 'Have an administrator of the server run deploy/roles.sql once, then migrate again.';
    END IF;
    FOREACH missing IN ARRAY string_to_array(missing, ', ') LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- another database's migration
        END;
        EXECUTE format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE', missing, current_user);
    END LOOP;
END $$
"""
EVERYBODY: Final = "(SELECT vigie_reaches_all())"
"""A condition: the caller's tenant scope is the whole platform."""


def make_roles(*names: str) -> None:
    """Create roles of the server if that is allowed; otherwise they must exist (`deploy/roles.sql`)."""
    op.execute(_MAKE_ROLES.replace("@roles", ",".join(names)))


def organisation_in_reach(column: str = "organisation_id") -> str:
    """Build a condition: the row's organisation is in the tenant scope. Subqueries run once per statement."""
    return f"({EVERYBODY} OR {column} = ANY ((SELECT vigie_organisations())::uuid[]))"


def site_in_reach(column: str = "site_id") -> str:
    """Build a condition: the row's site is in the tenant scope, or the caller is not limited to sites."""
    return f"((SELECT vigie_sites()) IS NULL OR {column} = ANY ((SELECT vigie_sites())::uuid[]))"


def protect(table: str, condition: str, *, check: str | None = None) -> None:
    """Enable row-level security on a table, for its owner too.

    Args:
        table: The table.
        condition: The condition of rows that can be read, updated and deleted.
        check: The condition of inserted and updated rows; `condition` by default.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY reach ON {table} USING ({condition}) WITH CHECK ({check or condition})")


def unprotect(table: str) -> None:
    """Drop the policies of `protect` and `open_to`."""
    op.execute(f"DROP POLICY IF EXISTS reach ON {table}")
    op.execute(f"DROP POLICY IF EXISTS system ON {table}")
    op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")


def open_to(table: str, roles: Sequence[str]) -> None:
    """Open all rows of a protected table to roles that work for all organisations; grants limit them."""
    op.execute(f"CREATE POLICY system ON {table} TO {', '.join(roles)} USING (true) WITH CHECK (true)")


def grant(privileges: str, tables: str, *roles: str) -> None:
    """Grant privileges on tables; names are separated by commas."""
    op.execute(f"GRANT {privileges} ON {tables} TO {', '.join(roles)}")
