"""A database with two hosts: a primary, and a standby that is promoted."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from sqlalchemy import text

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.confirmed_connection import UnconfirmedCommitError
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
    enough = {"wal_level": "'replica'", "max_wal_senders": "2"}
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
    async with asyncio.timeout(20):
        await woken.wait()
    woken.clear()
    hosts.primary.kill()
    await hosts.promote()
    found, failures, until = set[int](), list[BaseException](), time.monotonic() + 60
    while not found and time.monotonic() < until:
        try:
            found = await ports()
        except DATABASE_ERRORS as error:
            failures.append(error)
            await asyncio.sleep(0.05)
    assert [error for error in failures if not is_transient(error)] == []
    assert found == {hosts.standby.port}
    async with asyncio.timeout(60):
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


def count_connections(patch: pytest.MonkeyPatch) -> list[int]:
    """The ports of the hosts to which connections are opened from now on."""
    ports: list[int] = []
    connect = asyncpg.connect

    async def counted(url: str, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 (passed on)
        ports.append(urlsplit(url).port or 0)
        return await connect(url, **options)

    patch.setattr(asyncpg, "connect", counted)
    return ports


async def test_a_host_that_hangs_is_passed_over(hosts: TwoHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hosts.standby.child is not None
    os.kill(hosts.standby.child.pid, signal.SIGSTOP)
    try:
        database = Database(DatabaseSettings(url=hosts.url), application="test")
        connection = await database.connect()
        assert await connection.fetchval(PORT.text) == hosts.primary.port
        with monkeypatch.context() as patch:
            asked = count_connections(patch)
            again = await database.connect()
        assert asked == [hosts.primary.port], "the primary of the last time comes first"
        await again.close()
        await connection.close()
        await database.close()
    finally:
        os.kill(hosts.standby.child.pid, signal.SIGCONT)


@contextmanager
def suspended(host: PrivatePostgres) -> Iterator[None]:
    assert host.child is not None
    server = psutil.Process(host.child.pid)
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def test_a_statement_at_a_hanging_primary_ends_once_another_host_is_the_primary(
    hosts: TwoHosts,
) -> None:
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    connection = await database.connect()
    pool = await database.pool(size=1)
    assert await connection.fetchval(PORT.text) == hosts.primary.port
    with suspended(hosts.primary):
        waiting = [asyncio.create_task(each.fetchval(PORT.text)) for each in (connection, pool)]
        done, _ = await asyncio.wait(waiting, timeout=8)
        assert not done, "nothing ends while there is no other primary"
        await hosts.promote()
        began = time.monotonic()
        await asyncio.wait(waiting)
        assert time.monotonic() - began < 15, "the timeout of a statement is 30 s"
        assert all(isinstance(each.exception(), asyncpg.ConnectionDoesNotExistError) for each in waiting)
        again = await database.connect()
        assert await again.fetchval(PORT.text) == await pool.fetchval(PORT.text) == hosts.standby.port
        again.terminate()
        await pool.close()
        await database.close()


async def test_it_ends_too_when_another_connection_found_the_new_primary_first(hosts: TwoHosts) -> None:
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    connection = await database.connect()
    assert await connection.fetchval(PORT.text) == hosts.primary.port
    with suspended(hosts.primary):
        waiting = asyncio.create_task(connection.fetchval(PORT.text))
        await hosts.promote()
        other = await database.connect()
        assert await other.fetchval(PORT.text) == hosts.standby.port
        done, _ = await asyncio.wait([waiting], timeout=15)
        assert done, "the timeout of a statement is 30 s"
        assert isinstance(waiting.exception(), asyncpg.ConnectionDoesNotExistError)
        assert await other.fetchval(PORT.text) == hosts.standby.port, "a connection to the primary stays"
        await other.close()
        await database.close()


async def test_of_two_primaries_the_one_with_the_newest_timeline_is_used(hosts: TwoHosts) -> None:
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    connection = await database.connect()
    assert await connection.fetchval(PORT.text) == hosts.primary.port
    await hosts.promote()
    same = await database.connect()
    assert await same.fetchval(PORT.text) == hosts.primary.port, "hosts are not asked at each connection"
    await same.close()
    # A connection that ends may mean a failover.
    later = await database.connect()
    assert await later.fetchval(PORT.text) == hosts.standby.port
    await later.close()
    await connection.close()
    await database.close()


async def test_a_former_primary_is_refused(hosts: TwoHosts) -> None:
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    await hosts.promote()
    connection = await database.connect()
    assert await connection.fetchval(PORT.text) == hosts.standby.port
    await connection.close()
    await hosts.standby.stop()
    with pytest.raises(NoPrimaryError, match=r"former primary \(timeline 1, newest 2\)") as caught:
        await database.connect()
    assert is_transient(caught.value)
    other = await Database(DatabaseSettings(url=hosts.url), application="test").connect()
    assert await other.fetchval(PORT.text) == hosts.primary.port, "another process has not seen the failover"
    await other.close()
    await database.close()


async def test_a_provider_may_forbid_to_read_the_timeline(hosts: TwoHosts) -> None:
    admin = await asyncpg.connect(hosts.primary.superuser_url)
    await admin.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    await admin.close()
    database = Database(DatabaseSettings(url=hosts.url), application="test")
    connection = await database.connect()
    assert await connection.fetchval(PORT.text) == hosts.primary.port
    await connection.close()
    await database.close()


@pytest.fixture
async def admin(hosts: TwoHosts) -> AsyncIterator[asyncpg.Connection]:
    """Commits of the primary wait for a standby that does not exist."""
    connection = await asyncpg.connect(hosts.primary.superuser_url)
    await connection.execute("CREATE TABLE things (id integer PRIMARY KEY)")
    await connection.execute("GRANT ALL ON things TO PUBLIC")
    await connection.execute("ALTER SYSTEM SET synchronous_commit = 'on'")
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
    await connection.execute("SELECT pg_reload_conf()")
    while await connection.fetchval("SHOW synchronous_standby_names") != "absent":  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await until_commits_wait(hosts, connection)
    yield connection
    await connection.close()


WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


async def until_commits_wait(hosts: TwoHosts, admin: asyncpg.Connection) -> None:
    """Commit until a commit waits: the checkpointer tells backends some time after the reload."""
    probe = await asyncpg.connect(hosts.primary.superuser_url)
    pid = None
    async with asyncio.timeout(60):
        while pid is None:
            commit = asyncio.create_task(probe.execute("COMMENT ON TABLE things IS 'probed'"))
            while not commit.done() and pid is None:
                pid = await admin.fetchval(WAITING)
    assert await admin.fetchval("SELECT pg_terminate_backend($1, 60000)", pid)
    await asyncio.gather(commit, return_exceptions=True)
    probe.terminate()


async def end_wait(admin: asyncpg.Connection, function: str) -> None:
    async with asyncio.timeout(20):
        while (pid := await admin.fetchval(WAITING)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await admin.fetchval(f"SELECT {function}($1)", pid)


async def commit_by_session(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("INSERT INTO things VALUES (1)"))


async def commit_by_connection(database: Database) -> None:
    connection = await database.connect()
    async with connection.transaction():
        await connection.execute("INSERT INTO things VALUES (1)")


async def commit_by_pool(database: Database) -> None:
    async with await database.pool(size=1) as pool:
        await pool.fetchval("INSERT INTO things VALUES (1) RETURNING id")


@pytest.mark.parametrize("commit", [commit_by_session, commit_by_connection, commit_by_pool])
@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_commit_without_its_standby_is_an_error(
    hosts: TwoHosts,
    admin: asyncpg.Connection,
    commit: Callable[[Database], Coroutine[Any, Any, None]],
    function: str,
) -> None:
    database = Database(DatabaseSettings(url=hosts.primary.url), application="test")
    committing = asyncio.create_task(commit(database))
    await end_wait(admin, function)
    with pytest.raises(DATABASE_ERRORS) as caught:
        await committing
    if function == "pg_cancel_backend":
        assert isinstance(caught.value, UnconfirmedCommitError)
    assert is_transient(caught.value)
    assert await admin.fetchval("SELECT count(*) FROM things") == 1, "it is committed on the primary"
    # The next commit, on another connection, waits again.
    committing = asyncio.create_task(insert(database, 2))
    async with asyncio.timeout(20):
        while await admin.fetchval(WAITING) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
    await admin.execute("SELECT pg_reload_conf()")
    await committing
    await database.close()


async def insert(database: Database, number: int) -> None:
    async with database.write() as session:
        await session.execute(text("INSERT INTO things VALUES (:number)"), {"number": number})
