"""What each role may do is what is written in `privileges`: whoever widens it has to say so there."""

from collections import defaultdict
from typing import Final

import asyncpg

from tests.integration.access.privileges import FUNCTIONS, MEMBERS, PRIVILEGES, SEQUENCES

ORDER: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
_ON_TABLES: Final = """
SELECT r.rolname AS role,
    CASE WHEN c.relnamespace = 'public'::regnamespace THEN '' ELSE c.relnamespace::regnamespace || '.' END
        || c.relname AS thing,
    a.privilege_type AS privilege, NULL AS column, 0 AS place
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
JOIN pg_roles r ON r.oid = a.grantee OR a.grantee = 0
WHERE c.relnamespace IN ('public'::regnamespace, 'open_data'::regnamespace, 'granted_data'::regnamespace)
    AND c.relkind = ANY ($2) AND r.rolname = ANY ($1)
UNION ALL
SELECT r.rolname,
    CASE WHEN c.relnamespace = 'public'::regnamespace THEN '' ELSE c.relnamespace::regnamespace || '.' END
        || c.relname,
    a.privilege_type, t.attname, t.attnum
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN LATERAL aclexplode(t.attacl) a
JOIN pg_roles r ON r.oid = a.grantee OR a.grantee = 0
WHERE c.relnamespace IN ('public'::regnamespace, 'open_data'::regnamespace, 'granted_data'::regnamespace)
    AND c.relkind = ANY ($2) AND r.rolname = ANY ($1)
ORDER BY place
"""
# What runs with its owner's rights, and what not everybody may run.
_FUNCTIONS: Final = """
SELECT r.rolname AS role, array_agg(p.proname::text ORDER BY p.proname) AS names
FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
JOIN pg_roles r ON r.oid = a.grantee OR a.grantee = 0
WHERE p.pronamespace = 'public'::regnamespace AND r.rolname = ANY ($1)
    AND (p.prosecdef OR a.grantee <> 0)
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
GROUP BY r.rolname
"""
_MEMBERS: Final = """
SELECT m.rolname AS role, array_agg(g.rolname::text ORDER BY g.rolname) AS names
FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
WHERE m.rolname = ANY ($1) GROUP BY m.rolname
"""


async def granted(connection: asyncpg.Connection, *kinds: str) -> dict[str, dict[str, str]]:
    """Role → table → what it may do there: with the columns, where it is limited to some."""
    found: dict[tuple[str, str], dict[str, list[str] | None]] = defaultdict(dict)
    kinds_given = [kind.encode() for kind in kinds]
    for role, thing, privilege, column, _ in await connection.fetch(
        _ON_TABLES, list(PRIVILEGES), kinds_given
    ):
        known = found[role, thing]
        if column is None:
            known[privilege] = None
        elif (columns := known.setdefault(privilege, [])) is not None:
            columns.append(column)
    told: dict[str, dict[str, str]] = {role: {} for role in PRIVILEGES}
    for (role, thing), privileges in sorted(found.items()):
        told[role][thing] = ", ".join(
            privilege if columns is None else f"{privilege} ({', '.join(columns)})"
            for privilege, columns in sorted(privileges.items(), key=_place)
        )
    return told


def _place(item: tuple[str, object]) -> int:
    return ORDER.index(item[0]) if item[0] in ORDER else len(ORDER)


async def test_each_role_may_do_on_tables_what_is_written_and_no_more(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    found = await granted(connection, "r", "p", "v", "m", "f")
    await connection.close()
    for role, tables in PRIVILEGES.items():
        assert found[role] == tables, role


async def test_sequences_functions_and_roles_likewise(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    roles = list(PRIVILEGES)
    sequences = await granted(connection, "S")
    assert {role: set(told) for role, told in sequences.items()} == SEQUENCES
    # After a restore it passes the positions that were assigned before.
    assert sequences["vigie_deliver"].pop("measurement_positions") == "UPDATE, USAGE"
    assert {what for told in sequences.values() for what in told.values()} <= {"USAGE"}
    for query, written in ((_FUNCTIONS, FUNCTIONS), (_MEMBERS, MEMBERS)):
        assert {row["role"]: row["names"] for row in await connection.fetch(query, roles)} == written
    await connection.close()


async def test_chunks_of_samples_have_no_rights_of_their_own(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO samples (box_key, time) VALUES (1, now()), (1, now() - interval '90 days')"
    )
    chunks = await connection.fetch(
        "SELECT c.relacl::text AS held FROM show_chunks('samples') s JOIN pg_class c ON c.oid = s"
    )
    held = await connection.fetchval("SELECT relacl::text FROM pg_class WHERE relname = 'samples'")
    await connection.close()
    assert len(chunks) > 1
    assert {chunk["held"] for chunk in chunks} == {held}
