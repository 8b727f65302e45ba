import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aiomqtt
import asyncpg
import psutil
import pytest

from app.platform.broker.mosquitto_password_hash import format_password_line
from app.platform.kernel.atomic_files import replace_file_text
from app.standalone.child_process import ChildProcess
from app.standalone.mosquitto_config import BrokerLimits
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from app.standalone.unprivileged_accounts import (
    StandaloneError,
    SystemAccount,
    build_run_as_command,
    can_reach,
)

ACCOUNTS = {"ingest": "ingest pw", "gateway": "gateway:pw"}
ROOT = os.geteuid() == 0


def client(
    mq: PrivateMosquitto, username: str, password: str, identifier: str | None = None
) -> aiomqtt.Client:
    return aiomqtt.Client(
        mq.host,
        mq.port,
        username=username,
        password=password,
        timeout=20,
        identifier=identifier,
        clean_session=not identifier,
    )


async def scalar(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_the_owner_is_no_superuser_and_makes_hypertables(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        assert await scalar(pg.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        assert (
            await scalar(pg.superuser_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            is True
        )
        assert await scalar(pg.url, "SHOW server_encoding") == "UTF8"
        assert await scalar(pg.url, "SHOW timescaledb.telemetry_level") == "off"
        assert await scalar(pg.url, "SHOW fsync") == "off"
        await scalar(pg.url, "CREATE TABLE t (time timestamptz NOT NULL, v int)")
        assert await scalar(pg.url, "SELECT create_hypertable('t', by_range('time')) IS NOT NULL")
        copy = await pg.create_database("copy")
        assert await scalar(copy, "SELECT count(*) FROM t") == 0


async def test_what_is_committed_survives_stop_and_crash_on_the_same_port(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        url = pg.url
        await scalar(url, "CREATE TABLE t AS SELECT 1 AS n")
        await pg.stop()
        await pg.start()
        assert await scalar(url, "SELECT n FROM t") == 1
        assert pg.child is not None
        pg.kill()
        await pg.child.wait()
        await pg.start()
        assert await scalar(url, "SELECT n FROM t") == 1


async def test_a_password_is_needed(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=pg.host, port=pg.port, user="postgres", password="wrong", database="vigie"
            )


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        await pg.stop()
        (pg.data / "global" / "pg_control").rename(pg.data / "global" / "elsewhere")
        with pytest.raises(StandaloneError, match="pg_control"):
            await pg.start()
        (pg.data / "global" / "elsewhere").rename(pg.data / "global" / "pg_control")
        await pg.start()


async def test_lost_passwords_are_named(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        await pg.stop()
        (pg.data.parent / "passwords.json").rename(tmp_path / "elsewhere")
        with pytest.raises(StandaloneError, match=r"passwords\.json is gone"):
            await pg.start()


async def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        pg.kill()
        assert pg.child is not None
        await pg.child.wait()
        # As after a restart of the machine: the number now belongs to somebody else, here to this test.
        path = pg.data / "postmaster.pid"
        path.write_text("\n".join([str(os.getpid()), *path.read_text().split("\n")[1:]]))
        await pg.start()
        assert await scalar(pg.url, "SELECT 1") == 1


async def test_a_cluster_that_another_run_left_running_is_stopped_first(tmp_path: Path) -> None:
    async with PrivatePostgres(tmp_path / "pg", durable=False) as pg:
        await scalar(pg.url, "CREATE TABLE t AS SELECT 1 AS n")
        left = pg.child
        assert left is not None
        # `start` knows nothing of the first process, as a new supervisor would not.
        await pg.start()
        assert left.returncode is not None or await left.wait() == 0
        assert await scalar(pg.url, "SELECT n FROM t") == 1


async def test_accounts_have_their_topics_and_no_others(tmp_path: Path) -> None:
    async with (
        PrivateMosquitto(tmp_path / "mq", accounts={**ACCOUNTS, "box-1": "b1", "box-2": "b2"}) as mq,
        client(mq, "ingest", ACCOUNTS["ingest"]) as ingest,
        client(mq, "box-1", "b1") as box,
    ):
        await ingest.subscribe("vigie/v1/+/#", qos=1)
        await box.publish("vigie/v1/box-2/telemetry", b"forged", qos=1)
        await box.publish("vigie/v1/box-1/telemetry", b"own", qos=1)
        async with client(mq, "gateway", ACCOUNTS["gateway"]) as gateway:
            await gateway.publish("vigie/v1/box-2/ack", b"forged", qos=1)
            await gateway.publish("vigie/v1/box-2/event", b"relayed", qos=1)
        seen = [(str((await anext(aiter(ingest.messages))).topic)) for _ in range(2)]
        assert seen == ["vigie/v1/box-1/telemetry", "vigie/v1/box-2/event"]


async def test_nobody_enters_without_a_password(tmp_path: Path) -> None:
    async with PrivateMosquitto(tmp_path / "mq", accounts=ACCOUNTS) as mq:
        for username, password in ((None, None), ("ingest", "wrong"), ("stranger", "x")):
            with pytest.raises(aiomqtt.MqttError):
                async with aiomqtt.Client(mq.host, mq.port, username=username, password=password, timeout=20):
                    pass


async def test_a_new_password_file_is_read_on_the_signal(tmp_path: Path) -> None:
    async with PrivateMosquitto(tmp_path / "mq", accounts=ACCOUNTS) as mq:
        text = mq.static_password_file.read_text() + format_password_line("box-1", "secret") + "\n"
        replace_file_text(mq.password_file, text)
        assert int(mq.pid_file.read_text()) == mq.pid
        os.kill(mq.pid, signal.SIGHUP)
        async with asyncio.timeout(60):
            while True:
                try:
                    async with client(mq, "box-1", "secret"):
                        break
                except aiomqtt.MqttError:
                    await asyncio.sleep(0.02)


async def test_boxes_of_the_last_run_may_connect_before_the_file_is_written_anew(tmp_path: Path) -> None:
    async with PrivateMosquitto(tmp_path / "mq", accounts=ACCOUNTS) as mq:
        replace_file_text(
            mq.password_file, mq.password_file.read_text() + format_password_line("box-1", "secret") + "\n"
        )
        port = mq.port
        await mq.stop()
        assert not mq.pid_file.exists()
        await mq.start()
        assert mq.port == port
        async with client(mq, "box-1", "secret"):
            pass


async def test_more_than_the_brokers_default_is_queued_and_survives_a_restart(tmp_path: Path) -> None:
    count = 1_500
    async with PrivateMosquitto(tmp_path / "mq", accounts=ACCOUNTS, limits=BrokerLimits()) as mq:
        async with client(mq, "ingest", ACCOUNTS["ingest"], "consumer") as consumer:
            await consumer.subscribe("vigie/v1/+/telemetry", qos=1)
        async with client(mq, "gateway", ACCOUNTS["gateway"]) as gateway:
            await asyncio.gather(
                *(gateway.publish("vigie/v1/b/telemetry", str(n), qos=1) for n in range(count))
            )
        await mq.stop()
        await mq.start()
        async with client(mq, "ingest", ACCOUNTS["ingest"], "consumer") as consumer, asyncio.timeout(60):
            messages = aiter(consumer.messages)
            received = {int((await anext(messages)).payload or b"") for _ in range(count)}
        assert received == set(range(count))


async def test_an_outsized_packet_ends_its_connection_only(tmp_path: Path) -> None:
    async with PrivateMosquitto(tmp_path / "mq", accounts=ACCOUNTS) as mq:
        async with client(mq, "gateway", ACCOUNTS["gateway"]) as gateway, asyncio.timeout(60):
            publishing = asyncio.create_task(
                gateway.publish("vigie/v1/b/telemetry", b"x" * 2**21, qos=1, timeout=60)
            )
            # A confirmation that does not come is no end of the connection: this is.
            with pytest.raises(aiomqtt.MqttError):
                await anext(aiter(gateway.messages))
            publishing.cancel()
        async with client(mq, "gateway", ACCOUNTS["gateway"]):
            pass


async def test_a_broker_without_accounts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StandaloneError, match="at least one account"):
        PrivateMosquitto(tmp_path / "mq", accounts={})


if ROOT:
    NOBODY = SystemAccount("nobody", 65_534, 65_534)

    async def test_services_of_root_run_as_somebody_else(tmp_path: Path) -> None:
        async with PrivateMosquitto(tmp_path / "mq", accounts=ACCOUNTS) as mq:
            assert psutil.Process(mq.pid).uids().real != 0
            assert mq.password_file.stat().st_mode & 0o007 == 0
        assert not (tmp_path / "mq" / "home").exists()

    async def test_a_lasting_cluster_is_not_put_where_it_would_be_lost(tmp_path: Path) -> None:
        # pytest's own folder is closed to others.
        with pytest.raises(StandaloneError, match="cannot reach"):
            await PrivatePostgres(tmp_path / "pg").start()

    PROGRAM = """
import asyncio, sys
from pathlib import Path
from app.standalone.private_postgres import PrivatePostgres
from app.standalone.private_mosquitto import PrivateMosquitto

async def main(folder):
    broker = PrivateMosquitto(folder / "mq", accounts={"ingest": "x"})
    async with PrivatePostgres(folder / "pg") as pg, broker as mq:
        print(pg.pid, mq.pid, (folder / "pg" / "data").stat().st_uid)

asyncio.run(main(Path(sys.argv[1])))
"""

    # An ordinary user can run this only where it may read the program and this Python.
    PLACES: Sequence[str] = ["ordinary"] if can_reach(NOBODY, Path(sys.prefix) / "bin" / "python") else []

    @pytest.mark.parametrize("who", PLACES)
    async def test_an_ordinary_user_runs_both_as_itself(
        who: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with tempfile.TemporaryDirectory(prefix=f"vigie-{who}-") as name:
            os.chown(name, NOBODY.uid, NOBODY.gid)
            log = tmp_path_factory.mktemp("ordinary") / "log"
            child = await ChildProcess.start(
                build_run_as_command(NOBODY, [sys.executable, "-c", PROGRAM, name]),
                environment={"PATH": os.environ["PATH"], "HOME": name},
                log=log,
                folder=Path(name),
            )
            assert await child.wait() == 0, log.read_text()
            assert log.read_text().split()[2] == str(NOBODY.uid)
