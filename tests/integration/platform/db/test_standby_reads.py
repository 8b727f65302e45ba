"""Reads on a real standby, whose replay is paused, which hangs, is cancelled, is promoted."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db import standby_reads
from app.platform.db.database import DATABASE_ERRORS, Database, RawConnection, ReadSession
from app.platform.db.standby_reads import PROBE_EVERY_S, SessionReads, StandbyReads
from app.platform.db.wal_positions import (
    PrimaryPosition,
    StandbyUnusableError,
    WalPosition,
    wait_until_replayed,
)
from app.platform.kernel.tenant_scope import FULL_SCOPE, ScopedCaller, run_as_caller
from tests.replication import ReplicatedPostgres, run_replicated, run_standby

MAX_LAG_S = 0.3
READ = text("SELECT current_setting('port')::integer, (SELECT value FROM notes)")
_RESUME = "SELECT pg_wal_replay_resume()"
_PAUSE = "SELECT pg_wal_replay_pause()"


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedPostgres]:
    # A statement on the standby may delay its replay for so long (ms).
    options = ("-c", "max_standby_streaming_delay=50")
    async with run_replicated(tmp_path_factory.mktemp("replicated"), options) as made:
        await made.execute(
            "CREATE TABLE notes (value integer)",
            "INSERT INTO notes VALUES (0)",
            "GRANT ALL ON notes TO vigie_api, vigie_public",
        )
        yield made


class Reading:
    """Reads as the API's process does them, and counts where they ran."""

    def __init__(self, database: Database, replicated: ReplicatedPostgres) -> None:
        self.database = database
        self.standby_reads = StandbyReads.of(database, application="tests", role="vigie_api")
        self.reads: SessionReads = self.standby_reads.make_session_reads()
        self.ports = {replicated.primary.port: "primary", replicated.standby_port: "standby"}

    async def write(self, value: int) -> None:
        with run_as_caller(ScopedCaller(FULL_SCOPE)):
            async with self.database.write() as session:
                await session.execute(text("UPDATE notes SET value = :value"), {"value": value})

    async def read(self) -> tuple[str, int]:
        """Where the read ran, and the value."""

        async def read(session: ReadSession) -> tuple[str, int]:
            port, value = (await session.execute(READ)).one()
            return self.ports[port], value

        return await self.reads.run(read)

    async def until_on_standby(self) -> None:
        async with asyncio.timeout(60):
            while (await self.read())[0] != "standby":  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def settings_of(replicated: ReplicatedPostgres, **more: object) -> DatabaseSettings:
    given = {"url": replicated.url_of(), "standby_reads": True, "max_standby_lag_s": MAX_LAG_S, **more}
    return DatabaseSettings.model_validate(given)


@asynccontextmanager
async def opened(settings: DatabaseSettings, replicated: ReplicatedPostgres) -> AsyncIterator[Reading]:
    database = Database(settings, application="tests", role="vigie_api", tenants=True)
    made = Reading(database, replicated)
    yield made
    await made.standby_reads.close()
    await database.close()


@pytest.fixture
async def reading(replicated: ReplicatedPostgres) -> AsyncIterator[Reading]:
    async with opened(settings_of(replicated), replicated) as made:
        await made.until_on_standby()
        made.standby_reads._fallbacks.clear()
        yield made


@asynccontextmanager
async def paused_replay(replicated: ReplicatedPostgres) -> AsyncIterator[None]:
    await replicated.fetch_at(replicated.standby_url, _PAUSE)
    try:
        yield
    finally:
        await replicated.fetch_at(replicated.standby_url, _RESUME)


@contextmanager
def hanging(replicated: ReplicatedPostgres) -> Iterator[None]:
    server = psutil.Process(replicated.standby_pid)
    processes = [server, *server.children(recursive=True)]
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each.pid, signal.SIGCONT)


async def test_each_read_shows_the_write_before_it(reading: Reading) -> None:
    places = []
    for value in range(1, 101):
        await reading.write(value)
        place, found = await reading.read()
        assert found == value
        places.append(place)
        if place != "standby":
            await reading.until_on_standby()  # the machine stood still for longer than the bound on lag
    assert places.count("standby") >= 90, reading.standby_reads.state


async def test_another_process_shows_it_too(replicated: ReplicatedPostgres, reading: Reading) -> None:
    async with opened(settings_of(replicated), replicated) as other:
        await other.until_on_standby()
        for value in range(200, 230):
            await other.write(value)
            assert (await reading.read())[1] == value
            await reading.write(-value)
            assert (await other.read())[1] == -value


async def test_a_primary_on_which_nothing_happens_does_not_make_a_standby_late(reading: Reading) -> None:
    places: list[str] = []
    while len(places) < 5 and "standby" not in places:  # the machine may stand still during a read
        await asyncio.sleep(2 * MAX_LAG_S)
        places.append((await reading.read())[0])
    assert "standby" in places


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Until when each read that tried a standby wanted to wait for it, in seconds from its begin."""
    found: list[float] = []

    async def counted(driver: asyncpg.Connection, position: WalPosition, until: float) -> None:
        found.append(until - time.monotonic())
        await wait_until_replayed(driver, position, until)

    monkeypatch.setattr(standby_reads, "wait_until_replayed", counted)
    return found


def hold_probes(reading: Reading) -> None:
    """Let no read try a standby with a fault before `release_probes`, however slow the machine is."""
    reading.standby_reads._faults._probe_every_s = 3600


def release_probes(reading: Reading) -> None:
    faults = reading.standby_reads._faults
    faults._probe_every_s, faults._probe_at = PROBE_EVERY_S, 0.0


async def test_a_late_standby_is_not_used_until_it_has_caught_up(
    replicated: ReplicatedPostgres, reading: Reading, waits: list[float]
) -> None:
    hold_probes(reading)
    async with paused_replay(replicated):
        await reading.write(301)
        waits.clear()
        began = time.monotonic()
        assert await reading.read() == ("primary", 301)
        assert time.monotonic() - began > MAX_LAG_S * 0.8
        assert len(waits) == 1
        assert waits[0] <= MAX_LAG_S
        # The others do not wait.
        assert [await reading.read() for _ in range(5)] == [("primary", 301)] * 5
        assert len(waits) == 1
        assert reading.standby_reads.state.fault == "lag"
        assert reading.standby_reads.state.fallbacks == {"lag": 6}
        release_probes(reading)
        # One read a second tries it; what is read at the same time does not wait.
        reading.standby_reads._faults._probe_every_s = 3600
        found = await asyncio.gather(*(reading.read() for _ in range(5)))
        assert found == [("primary", 301)] * 5
        assert len(waits) == 2
    release_probes(reading)
    await reading.until_on_standby()
    assert await reading.read() == ("standby", 301)
    assert reading.standby_reads.state.fault is None


async def test_a_late_standby_is_left_at_once_while_another_is_not_late(
    replicated: ReplicatedPostgres,
) -> None:
    async with run_standby(replicated.primary, name="db-c") as (third, _):
        url = replicated.url_of().replace(
            f":{replicated.standby_port}", f":{replicated.standby_port},127.0.0.1:{third}"
        )
        urls = {
            "standby": replicated.standby_url,
            "third": replicated.standby_url.replace(f":{replicated.standby_port}/", f":{third}/"),
        }
        async with opened(settings_of(replicated, url=url), replicated) as reading:
            reading.ports[third] = "third"
            connector = reading.standby_reads._connector
            assert connector is not None
            connector._first = connector._urls.index(next(u for u in connector._urls if f":{third}" in u))

            async def read(session: ReadSession) -> str:
                port = await session.scalar(
                    text("SELECT current_setting('port')::integer FROM pg_sleep(0.2)")
                )
                return reading.ports[port]

            async def read_many() -> list[str]:
                return await asyncio.gather(*(reading.reads.run(read) for _ in range(4)))

            async with asyncio.timeout(60):
                while (await read_many()) != ["third"] * 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            reading.standby_reads._fallbacks.clear()
            await replicated.fetch_at(urls["third"], _PAUSE)
            try:
                await reading.write(351)
                assert await reading.reads.run(read) == "primary"
                assert reading.standby_reads.state.fallbacks == {"lag": 1}
                await asyncio.sleep(PROBE_EVERY_S)
                assert await reading.reads.run(read) == "standby"
                assert await read_many() == ["standby"] * 4
                assert reading.standby_reads.state.fallbacks == {"lag": 1}
            finally:
                await replicated.fetch_at(urls["third"], _RESUME)


async def test_a_read_waits_for_a_standby_that_catches_up_in_time(replicated: ReplicatedPostgres) -> None:
    async with opened(settings_of(replicated, max_standby_lag_s=20.0), replicated) as reading:
        await reading.until_on_standby()
        async with paused_replay(replicated):
            await reading.write(401)
            waiting = asyncio.create_task(reading.read())
            await asyncio.sleep(0.1)
            assert not waiting.done()
        assert await waiting == ("standby", 401)


async def test_recovery_that_cancels_a_read_repeats_it_on_the_primary(
    replicated: ReplicatedPostgres, reading: Reading
) -> None:
    await replicated.execute("CREATE TABLE doomed (n integer)", "GRANT ALL ON doomed TO vigie_api")
    await reading.until_on_standby()
    ran = []

    async def read(session: ReadSession) -> int:
        place = reading.ports[await session.scalar(text("SELECT current_setting('port')::integer"))]
        ran.append(place)
        found: int = await session.scalar(text("SELECT count(*) FROM doomed"))
        if place == "standby":
            # The transaction has read the table, so that its replay has to wait.
            await replicated.execute("TRUNCATE doomed")
            await session.execute(text("SELECT pg_sleep(10)"))
        return found

    before = reading.standby_reads.state.fallbacks
    assert await reading.reads.run(read) == 0
    assert ran == ["standby", "primary"]
    after = reading.standby_reads.state.fallbacks
    assert after["conflict"] == before.get("conflict", 0) + 1
    assert reading.standby_reads.state.fault is None, "the next read may use the standby"
    await reading.until_on_standby()
    await replicated.execute("DROP TABLE doomed")


async def test_an_error_that_the_primary_would_have_too_is_raised(reading: Reading) -> None:
    ran = []

    async def read(session: ReadSession) -> None:
        ran.append(1)
        await session.execute(text("SELECT * FROM absent"))

    with pytest.raises(ProgrammingError):
        await reading.reads.run(read)
    assert ran == [1]
    assert reading.standby_reads.state.fallbacks == {}


async def test_a_standby_that_hangs_costs_one_read_a_second_some_time(
    replicated: ReplicatedPostgres, reading: Reading, waits: list[float]
) -> None:
    hold_probes(reading)
    with hanging(replicated):
        await reading.write(501)
        waits.clear()
        assert await reading.read() == ("primary", 501)
        assert await reading.read() == ("primary", 501)
        assert len(waits) <= 1, "the second read does not try it"
        assert set(reading.standby_reads.state.fallbacks) <= {"no_answer", "lag"}
        # Nor does a new process find one.
        async with opened(settings_of(replicated), replicated) as other:
            assert await other.read() == ("primary", 501)
            assert other.standby_reads.state.fallbacks == {"unreachable": 1}
    release_probes(reading)
    await reading.until_on_standby()


async def test_a_standby_that_hangs_in_a_statement_is_given_up(replicated: ReplicatedPostgres) -> None:
    async with opened(settings_of(replicated, command_timeout_s=3.0), replicated) as reading:
        await reading.until_on_standby()
        ran = []

        async def read(session: ReadSession) -> int:
            ran.append(reading.ports[await session.scalar(text("SELECT current_setting('port')::integer"))])
            if ran[-1] == "standby":
                with hanging(replicated):
                    await session.execute(text("SELECT 1"))
            return len(ran)

        assert await reading.reads.run(read) == 2
        assert ran == ["standby", "primary"]


SLOW = "SELECT count(pg_sleep(20)) WHERE pg_is_in_recovery()"


@pytest.mark.parametrize("limit", ["driver", "server"])
async def test_a_slow_statement_does_not_stop_the_reads_of_others(
    replicated: ReplicatedPostgres, limit: str
) -> None:
    """One tenant's heavy query says nothing of the standby."""
    async with opened(settings_of(replicated, command_timeout_s=1.5), replicated) as reading:
        await reading.until_on_standby()
        reading.standby_reads._fallbacks.clear()
        pool = await reading.database.pool(size=1, eager=False, role="vigie_public")
        by_pool = await reading.standby_reads.make_pool_reads(pool, size=1, name="slow", role="vigie_public")

        async def read_session(session: ReadSession) -> int:
            if limit == "server":
                await session.execute(text("SET LOCAL statement_timeout = 100"))
            return int(await session.scalar(text(SLOW)))

        async def read_pool(connection: RawConnection) -> int:
            if limit == "server":
                async with connection.transaction():
                    await connection.execute("SET LOCAL statement_timeout = 100")
                    return int(await connection.fetchval(SLOW))
            return int(await connection.fetchval(SLOW))

        assert await reading.reads.run(read_session) == 0
        assert await by_pool.run(read_pool) == 0
        assert reading.standby_reads.state.fallbacks == {"slow": 2}
        assert reading.standby_reads.state.fault is None
        assert (await reading.read())[0] == "standby"
        await pool.close()


async def test_the_tenant_scope_is_the_same_on_a_standby(reading: Reading) -> None:
    """Row-level security reads it from settings of the transaction, which set_config makes there, too."""

    async def read(session: ReadSession) -> tuple[bool, tuple[str, str, str]]:
        reach, user, isolation = (
            await session.execute(
                text(
                    "SELECT current_setting('vigie.reach'), current_user::text, "
                    "current_setting('transaction_isolation')"
                )
            )
        ).one()
        is_standby: bool = await session.scalar(text("SELECT pg_is_in_recovery()"))
        return is_standby, (reach, user, isolation)

    async def read_on_standby() -> tuple[str, str, str]:
        async with asyncio.timeout(60):
            while not (found := await reading.reads.run(read))[0]:  # noqa: ASYNC110 (it may be late)
                await asyncio.sleep(0.1)
        return found[1]

    assert await read_on_standby() == ("", "vigie_api", "repeatable read")
    with run_as_caller(ScopedCaller(FULL_SCOPE)):
        assert await read_on_standby() == ("all", "vigie_api", "repeatable read")
    assert await read_on_standby() == ("", "vigie_api", "repeatable read")


async def test_raw_connections_of_another_role(replicated: ReplicatedPostgres, reading: Reading) -> None:
    pool = await reading.database.pool(size=2, eager=False, role="vigie_public")
    reads = await reading.standby_reads.make_pool_reads(pool, size=2, name="register", role="vigie_public")
    query = "SELECT current_user::text, pg_is_in_recovery(), (SELECT value FROM notes)"

    async def read(connection: RawConnection) -> tuple[object, ...]:
        (row,) = await connection.fetch(query)
        return tuple(row)

    await reading.write(601)
    async with asyncio.timeout(60):
        while (found := await reads.run(read))[1] is False:
            assert found == ("vigie_public", False, 601)
            await asyncio.sleep(0.1)
    assert found == ("vigie_public", True, 601)
    async with paused_replay(replicated):
        await reading.write(602)
        assert await reads.run(read) == ("vigie_public", False, 602)
    await pool.close()


async def test_without_a_primary_a_read_fails_as_it_did_and_later_ones_ask_it_once(
    replicated: ReplicatedPostgres, reading: Reading
) -> None:
    primary = psutil.Process(replicated.primary.pid)
    processes = [primary, *primary.children(recursive=True)]
    for each in processes:
        each.suspend()
    try:
        for reads in (1, 2):
            with pytest.raises(DATABASE_ERRORS):
                async with asyncio.timeout(8):
                    await reading.read()
            assert reading.standby_reads.state.fallbacks == {"primary_unreachable": reads}
    finally:
        for each in processes:
            each.resume()
    await reading.until_on_standby()


@pytest.mark.parametrize(
    ("hide", "show"),
    [
        (
            "REVOKE EXECUTE ON FUNCTION standby_timeline() FROM vigie_api",
            "GRANT EXECUTE ON FUNCTION standby_timeline() TO vigie_api",
        ),
        ("REVOKE pg_monitor FROM vigie", "GRANT pg_monitor TO vigie"),
    ],
)
async def test_a_standby_that_does_not_show_its_timeline_is_not_used(
    replicated: ReplicatedPostgres, reading: Reading, hide: str, show: str
) -> None:
    await replicated.execute(hide)
    try:
        assert (await reading.read())[0] == "primary"
        assert reading.standby_reads.state.fallbacks == {"timeline": 1}
    finally:
        await replicated.execute(show)
    await reading.until_on_standby()


async def test_by_default_everything_runs_on_the_primary(replicated: ReplicatedPostgres) -> None:
    async with opened(settings_of(replicated, standby_reads=False), replicated) as reading:
        assert not reading.standby_reads.state.enabled
        assert (await reading.read())[0] == "primary"
        assert reading.standby_reads.state[3:5] == (0, {})
    # One host has no standby.
    alone = settings_of(replicated, url=replicated.primary.url)
    async with opened(alone, replicated) as reading:
        assert not reading.standby_reads.state.enabled
        assert (await reading.read())[0] == "primary"


async def test_callers_share_a_query_of_the_position_that_began_after_each_of_them(
    replicated: ReplicatedPostgres,
) -> None:
    database = Database(settings_of(replicated), application="tests", role="vigie_api", tenants=True)
    position = PrimaryPosition(database.connect)
    first = await position.read()
    connection = position._connection
    assert connection is not None
    queries = []
    connection.add_query_logger(lambda record: queries.append(record.query))
    found = await asyncio.gather(*(position.read() for _ in range(50)))
    await asyncio.sleep(0)
    assert len(queries) == 1
    assert min(found) >= first
    # One that calls while a query runs gets the next one.
    running = asyncio.create_task(position.read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(position.read()) for _ in range(10)]
    await asyncio.gather(running, *later)
    await asyncio.sleep(0)
    assert len(queries) == 3
    # A connection that is lost costs one read, which runs on the primary.
    connection.terminate()
    assert await position.read() >= first
    await position.close()
    await database.close()


async def test_a_standby_of_another_timeline_is_not_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its WAL may be longer than that of the new primary, and lacks what was committed there."""
    async with run_replicated(tmp_path_factory.mktemp("diverging")) as replicated:
        former = replicated.primary
        async with run_standby(former, name="db-c") as (third, _):
            await replicated.execute(
                "CREATE TABLE notes (value integer)",
                "INSERT INTO notes VALUES (1)",
                "GRANT ALL ON notes TO vigie_api",
            )
            url = replicated.url_of().replace(f":{former.port},", f":{third},")
            async with asyncio.timeout(20):
                while (  # noqa: ASYNC110
                    await replicated.fetch_at(
                        former.superuser_url.replace(f":{former.port}/", f":{third}/"),
                        "SELECT to_regclass('notes') IS NULL",
                    )
                ):
                    await asyncio.sleep(0.05)
            assert await replicated.fetch_at(replicated.standby_url, "SELECT pg_promote()")
            # The former primary goes on alone, and so does its other standby.
            await replicated.execute(
                "UPDATE notes SET value = 2", "SELECT pg_switch_wal()", "UPDATE notes SET value = 3"
            )
            settings = settings_of(replicated, url=url)
            database = Database(settings, application="tests", role="vigie_api", tenants=True)
            position = PrimaryPosition(database.connect)
            newest = await position.read()
            assert newest.timeline == 2
            standby = await asyncpg.connect(former.superuser_url.replace(f":{former.port}/", f":{third}/"))
            async with asyncio.timeout(20):
                while await standby.fetchval("SELECT value FROM notes") != 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            ahead = await standby.fetchval("SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint")
            assert ahead > newest.lsn, "by the position alone it would be used"
            with pytest.raises(StandbyUnusableError) as caught:
                await wait_until_replayed(standby, newest, time.monotonic() + 1)
            assert caught.value.fault == "timeline"
            await wait_until_replayed(standby, WalPosition(1, newest.lsn), time.monotonic() + 1)
            await standby.close()
            reading = Reading(database, replicated)
            assert await reading.read() == ("standby", 1), "the promoted host is the primary now"
            assert reading.standby_reads.state[3:5] == (0, {"timeline": 1})
            # A connection that was to a standby before its promotion is not one to a standby any more.
            promoted = await asyncpg.connect(replicated.standby_url)
            with pytest.raises(StandbyUnusableError) as caught:
                await wait_until_replayed(promoted, newest, time.monotonic() + 1)
            assert caught.value.fault == "promoted"
            await promoted.close()
            await position.close()
            await reading.standby_reads.close()
            await database.close()
