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
PUBLIC: Final = "vigie_public"
"""What the API becomes to read the public register: it has views of what is published, and no table."""

# Roles are the server's, not the database's: others of its databases may use them too, so they stay.
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
"""The caller works for the whole platform."""


def make_roles(*names: str) -> None:
    """Make roles of the server's where that is allowed; else they have to be there (`deploy/roles.sql`)."""
    op.execute(_MAKE_ROLES.replace("@roles", ",".join(names)))


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
