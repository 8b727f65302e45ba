"""How transactions begin, and what becomes of connections that were lost meanwhile, on a real server."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, literal, select, text
from sqlalchemy.exc import DBAPIError

from app.platform.db import database as idle_connections
from app.platform.db.database import LOOKUP_CONNECTIONS, Database
from app.platform.db.driver_query import DriverQuery
from app.platform.db.tenant_scoped_connection import quote_literal
from app.platform.kernel.tenant_scope import (
    EMPTY_SCOPE,
    FULL_SCOPE,
    ScopedCaller,
    format_actor,
    run_as_caller,
    set_request_origin,
)
from app.settings import VigieSettings

SETTING = text("SELECT current_setting(:name)")
HOSTILE = "'); RESET ROLE; SELECT set_config('vigie.reach', 'all', false); --\\' \\\\ \" é 🔔 $$"


@pytest.fixture
async def tenants(settings: VigieSettings) -> AsyncIterator[Database]:
    """A database as the API opens it."""
    opened = Database(settings.database, application="tests-api", role="vigie_api", tenants=True)
    yield opened
    await opened.close()


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_each_transaction_is_told_whom_it_is_for(tenants: Database, kind: str) -> None:
    for name in (HOSTILE, "E'", "\\", "", "x" * 10_000):
        set_request_origin("127.0.0.1", name)
        caller = ScopedCaller(EMPTY_SCOPE, format_actor("key", None, name))
        with run_as_caller(caller):
            async with getattr(tenants, kind)() as session:
                for setting, value in caller.settings().items():
                    assert await session.scalar(SETTING, {"name": setting}) == value
                assert await session.scalar(text("SELECT current_user")) == "vigie_api"
        # What was told is over with its transaction: the next one on this connection is told anew.
        with run_as_caller(ScopedCaller(FULL_SCOPE, "somebody else")):
            async with getattr(tenants, kind)() as session:
                assert await session.scalar(SETTING, {"name": "vigie.reach"}) == "all"
                assert await session.scalar(SETTING, {"name": "vigie.actor"}) == "somebody else"


async def test_a_second_transaction_of_a_session_is_told_too(tenants: Database) -> None:
    with run_as_caller(ScopedCaller(EMPTY_SCOPE, "first")):
        async with tenants.write() as session:
            await session.scalar(text("SELECT 1"))
            await session.commit()
            assert await session.scalar(SETTING, {"name": "vigie.actor"}) == "first"
            async with session.begin_nested():
                assert await session.scalar(SETTING, {"name": "vigie.actor"}) == "first"


async def test_what_only_reads_cannot_write(tenants: Database, database: Database) -> None:
    statement = text("UPDATE organisations SET name = name")
    for opened in (tenants, database):
        for kind in (opened.read, opened.look_up):
            with run_as_caller(ScopedCaller(FULL_SCOPE)):
                async with kind() as session:
                    with pytest.raises(DBAPIError, match="read-only"):
                        await session.execute(statement)
        # The same connections write again afterwards.
        with run_as_caller(ScopedCaller(FULL_SCOPE)):
            async with opened.write() as session:
                await session.execute(statement)


async def test_all_that_is_read_is_of_one_moment(tenants: Database) -> None:
    count = text("SELECT count(*) FROM organisations")
    fields = "id, name, created_at, updated_at"
    change = text(f"INSERT INTO organisations ({fields}) SELECT gen_random_uuid(), 'one', now(), now()")
    with run_as_caller(ScopedCaller(FULL_SCOPE)):
        async with tenants.read() as session:
            before = await session.scalar(count)
            async with tenants.write() as writer:
                await writer.execute(change)
            assert await session.scalar(count) == before
        async with tenants.read() as session:
            assert await session.scalar(count) == before + 1
        # What writes sees what others commit.
        async with tenants.write() as session:
            assert await session.scalar(text("SHOW transaction_isolation")) == "read committed"


async def test_a_lookup_is_the_programs_and_leaves_nothing_behind(tenants: Database) -> None:
    with run_as_caller(ScopedCaller(EMPTY_SCOPE, "nobody")):
        for _ in range(2 * LOOKUP_CONNECTIONS):
            async with tenants.look_up() as session:
                assert await session.scalar(SETTING, {"name": "vigie.reach"}) == "all"
                assert await session.scalar(SETTING, {"name": "vigie.actor"}) == ""
                # No transaction around it: each statement is one.
                first = await session.scalar(text("SELECT pg_current_xact_id()::text"))
                assert first != await session.scalar(text("SELECT pg_current_xact_id()::text"))


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
@settings(max_examples=30)
def test_a_literal_is_the_text_and_nothing_else(texts: list[str]) -> None:
    # As the server reads it: an escaped string ends at the first quote that is neither doubled nor escaped.
    for value in texts:
        written = quote_literal(value)
        assert written[:2] == "E'"
        read, rest = "", written[2:]
        while rest[0] != "'" or rest[:2] == "''":
            step = 2 if rest[0] in "'\\" else 1
            assert step == 1 or rest[1] == rest[0]
            read, rest = read + rest[0], rest[step:]
        assert (read, rest) == (value, "'")


def test_a_literal_has_no_nul() -> None:
    assert quote_literal("a\0b") == "E'ab'"


async def end_all(database_url: str) -> None:
    """End every connection of the database but the one that does it, as a restart of the server does."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'tests-api'"
    )
    await connection.close()


async def open_some(tenants: Database) -> None:
    """Have several connections lie in the pool."""
    async with tenants.read() as one, tenants.read() as other, tenants.look_up() as third:
        for session in (one, other, third):
            await session.scalar(text("SELECT 1"))


async def answer(tenants: Database) -> None:
    """Use as many again."""
    await open_some(tenants)


async def test_connections_that_were_lost_are_replaced_unseen(tenants: Database, database_url: str) -> None:
    await open_some(tenants)
    await end_all(database_url)
    await answer(tenants)


async def test_an_idle_connection_is_asked_whether_it_is_there(
    tenants: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if nobody had said good-bye: the connection does not know that it is lost.
    monkeypatch.setattr(idle_connections, "is_connection_lost", lambda _: False)
    await open_some(tenants)
    await end_all(database_url)
    monkeypatch.setattr(idle_connections, "PING_AFTER_S", 0.0)
    await answer(tenants)


async def test_a_query_of_the_driver_needs_the_transaction_of_its_caller(tenants: Database) -> None:
    query = DriverQuery(select(bindparam("name", "unnamed"), literal(7).label("seven")))
    async with tenants.read() as session:
        with pytest.raises(RuntimeError, match="first"):
            await query.fetch(session, name="a")
        await session.execute(SETTING, {"name": "vigie.actor"})
        assert [tuple(row) for row in await query.fetch(session, name="a")] == [("a", 7)]
        assert [tuple(row) for row in await query.fetch(session)] == [("unnamed", 7)]
