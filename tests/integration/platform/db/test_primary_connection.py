"""A database with two hosts: a primary, and a standby that is promoted."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import DATABASE_ERRORS, Database, is_transient
from app.platform.db.notification_listener import listen_for_wakeups
from app.platform.db.primary_connection import NoPrimaryError
from app.standalone.private_postgres import PrivatePostgres

PORT = text("SELECT current_setting('port')::integer")


@dataclass(frozen=True)
class TwoHosts:
    """A primary and a standby. The standby is first in the address.

    Attributes:
        url: names both.
    """

    primary: PrivatePostgres
    standby: PrivatePostgres

    @property
    def url(self) -> str:
        head, _, tail = self.primary.url.rpartition(f"127.0.0.1:{self.primary.port}")
        return f"{head}127.0.0.1:{self.standby.port},127.0.0.1:{self.primary.port}{tail}"

    async def promote(self) -> None:
        connection = await asyncpg.connect(self.standby.superuser_url)
        assert await connection.fetchval("SELECT pg_promote()")
        await connection.close()


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[TwoHosts]:
    enough = {"wal_level": "'replica'"}
    primary = PrivatePostgres(tmp_path / "one", durable=False, archive=enough)
    standby = PrivatePostgres(tmp_path / "two", durable=False, archive=enough)
    try:
        await primary.start()
        await primary.stop()
        home = standby._home.open()
        for source, target in (
            (f"{primary._home.path}/.", str(home)),
            (home / "data/PG_VERSION", home / "data/standby.signal"),
        ):
            subprocess.run(["cp", "-a", source, target], check=True)  # noqa: S603, S607, ASYNC221 (with their owners)
        await primary.start()
        standby._load_passwords(home)
        standby._bin = primary._bin
        await standby._launch(home)
        yield TwoHosts(primary, standby)
    finally:
        for each in (primary, standby):
            await each.stop()
            each.close()


async def test_all_connections_follow_the_primary(hosts: TwoHosts) -> None:
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    pool = await database.pool(size=1)
    woken = asyncio.Event()
    listening = asyncio.create_task(listen_for_wakeups(database, woken.set, channel="told"))

    async def ports() -> set[int]:
        async with database.write() as session, database.look_up() as lookup:
            found = {await session.scalar(PORT), await lookup.scalar(PORT)}
        connection = await database.connect()
        found |= {await connection.fetchval(PORT.text), await pool.fetchval(PORT.text)}
        await connection.close()
        return found

    assert await ports() == {hosts.primary.port}
    async with asyncio.timeout(10):
        await woken.wait()
    woken.clear()
    hosts.primary.kill()
    await hosts.promote()
    found, failures, until = set[int](), list[BaseException](), time.monotonic() + 20
    while not found and time.monotonic() < until:
        try:
            found = await ports()
        except DATABASE_ERRORS as error:
            failures.append(error)
            await asyncio.sleep(0.05)
    assert [error for error in failures if not is_transient(error)] == []
    assert found == {hosts.standby.port}
    async with asyncio.timeout(15):
        await woken.wait()
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
    await pool.close()
    await database.close()


async def test_without_a_primary_each_host_is_named_and_no_secret(hosts: TwoHosts) -> None:
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    await hosts.primary.stop()
    with pytest.raises(NoPrimaryError) as caught:
        await database.connect()
    said = str(caught.value)
    assert f"127.0.0.1:{hosts.standby.port}: standby" in said
    assert f"127.0.0.1:{hosts.primary.port}: " in said
    assert hosts.primary._passwords["vigie"] not in said
    assert is_transient(caught.value)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await Database(
            DatabaseSettings(url=hosts.url.replace(hosts.primary._passwords["vigie"], "wrong")),
            application="test",
        ).connect()
    await database.close()


async def test_a_host_that_hangs_is_passed_over(hosts: TwoHosts) -> None:
    assert hosts.standby.child is not None
    os.kill(hosts.standby.child.pid, signal.SIGSTOP)
    try:
        database = Database(DatabaseSettings(url=hosts.url), application="test")
        connection = await database.connect()
        assert await connection.fetchval(PORT.text) == hosts.primary.port
        began = time.monotonic()
        again = await database.connect()
        assert time.monotonic() - began < 2, "the primary of the last time comes first"
        await again.close()
        await connection.close()
        await database.close()
    finally:
        os.kill(hosts.standby.child.pid, signal.SIGCONT)
