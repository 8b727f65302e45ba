"""Statements of a reader, on one connection for several callers, beside SQLAlchemy's own execution."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import ARRAY, Integer, Text, any_, bindparam, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB

from app.platform.db.database import Database
from app.platform.db.tenant_reader import TenantReader
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, TenantScope, run_as_caller
from app.registry.models import Site
from app.settings import VigieSettings
from tests.conftest import STREET, Tenant


@pytest.fixture
async def api_database(settings: VigieSettings) -> AsyncIterator[Database]:
    opened = Database(settings.database, application="tests", role="vigie_api", tenants=True)
    yield opened
    await opened.close()


@pytest.fixture
async def reader(api_database: Database) -> AsyncIterator[TenantReader]:
    opened = await TenantReader.of(api_database, size=1)
    yield opened
    await opened.close()


def caller(*organisations: str, sites: list[str] | None = None) -> ScopedCaller:
    found = None if sites is None else [UUID(site) for site in sites]
    return ScopedCaller(TenantScope.of([UUID(each) for each in organisations], found))


async def names(reader: TenantReader) -> list[str]:
    """All that row-level security lets it see: the statement itself has no condition."""
    return [row.name for row in await reader.fetch(select(Site.name).order_by(Site.id))]


async def test_each_caller_sees_its_own_on_the_same_connection(
    tenant: Tenant, other_tenant: Tenant, reader: TenantReader
) -> None:
    made = {}
    for each, name in ((tenant, "mine"), (other_tenant, "theirs"), (tenant, "mine too")):
        answer = await each.client.post("/v1/sites", json={**STREET, "name": name})
        made[name] = answer.raise_for_status().json()["id"]
    assert await names(reader) == []
    for _ in range(2):
        for who, seen in (
            (caller(tenant.id), ["mine", "mine too"]),
            (caller(other_tenant.id), ["theirs"]),
            (caller(tenant.id, sites=[made["mine"]]), ["mine"]),
            (caller(tenant.id, sites=[]), []),
            (ScopedCaller(FULL_SCOPE), ["mine", "theirs", "mine too"]),
            (caller(str(uuid4())), []),
        ):
            with run_as_caller(who):
                assert await names(reader) == seen
        assert await names(reader) == []


async def test_many_callers_at_once_do_not_mix(
    tenant: Tenant, other_tenant: Tenant, api_database: Database
) -> None:
    for each in (tenant, other_tenant):
        (await each.client.post("/v1/sites", json={**STREET, "name": each.id})).raise_for_status()
    reader = await TenantReader.of(api_database, size=3)

    async def ask(who: Tenant) -> None:
        with run_as_caller(caller(who.id)):
            for _ in range(50):
                assert await names(reader) == [who.id]

    await asyncio.gather(*(ask(each) for each in (tenant, other_tenant) * 4))
    await reader.close()


async def test_a_statement_that_was_cancelled_leaves_no_scope_behind(
    tenant: Tenant, other_tenant: Tenant, reader: TenantReader
) -> None:
    for each in (tenant, other_tenant):
        (await each.client.post("/v1/sites", json={**STREET, "name": each.id})).raise_for_status()
    slow = select(Site.name, select(literal(1)).where(literal(None, Text).is_(None)).scalar_subquery())
    with run_as_caller(caller(tenant.id)), pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await reader.fetch(slow)
    with run_as_caller(caller(other_tenant.id)):
        assert await names(reader) == [other_tenant.id]


async def test_it_only_reads(reader: TenantReader) -> None:
    with run_as_caller(ScopedCaller(FULL_SCOPE)), pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.fetch(text("DELETE FROM sites").columns())


VALUES: list[tuple[Any, Any]] = [
    (literal(7, Integer), 7),
    (literal("a'b\\c"), "a'b\\c"),
    (literal(["a", "b"], ARRAY(Text)), ["a", "b"]),
    (literal({"a": [1, None]}, JSONB), {"a": [1, None]}),
    (literal(datetime(2026, 1, 2, 3, tzinfo=UTC)), datetime(2026, 1, 2, 3, tzinfo=UTC)),
    (literal(UUID(int=5)), UUID(int=5)),
    (literal(1.5), 1.5),
    (literal(True), True),
]


async def test_values_are_those_of_the_engine(reader: TenantReader, database: Database) -> None:
    for _ in range(2):
        for expression, value in VALUES:
            statement = select(expression.label("found"))
            (row,) = await reader.fetch(statement)
            assert row.found == row[0] == row["found"] == value
            async with database.read() as session:
                assert (await session.execute(statement)).scalar_one() == value


async def test_statements_of_one_form_keep_their_own_values(reader: TenantReader) -> None:
    named = select((bindparam("given", type_=Integer) + literal(1, Integer)).label("sum"))
    for number in range(5):
        (row,) = await reader.fetch(named, {"given": number})
        assert row.sum == number + 1
        (row,) = await reader.fetch(select((literal(number) + literal(10)).label("sum")))
        assert row.sum == number + 10
        wanted = [number, 99]
        statement = select(literal(number) == any_(literal(wanted, ARRAY(Integer))))
        assert (await reader.fetch(statement))[0][0] is True
        among = select(literal(number).in_([number, *range(50, 50 + number)]).label("found"))
        assert (await reader.fetch(among))[0].found is True
    with pytest.raises(AttributeError):
        _ = row.nothing
