"""The broker's password file, rendered from the database: real PostgreSQL, real Mosquitto."""

import asyncio
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiomqtt
import pytest
from sqlalchemy import text

from app.platform.broker.mosquitto_password_hash import hash_mosquitto_password
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database
from app.platform.kernel import atomic_files
from app.registry import broker_password_file
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant

RELOAD: Final = Path(__file__).parents[3] / "deploy" / "containers" / "broker-reload.sh"


async def accepts(broker: PrivateMosquitto, username: str, password: str) -> bool:
    try:
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            username=username,
            password=password,
            # Of two clients with one name the broker turns out the first.
            identifier=f"test-accounts-{username}",
            timeout=20,
        ):
            return True
    except aiomqtt.MqttError:
        return False


async def add_box(database: Database, site_id: str, identifier: str, password: str) -> None:
    async with database.write() as session:
        await session.execute(
            text(
                "INSERT INTO boxes"
                " (id, organisation_id, site_id, interval_s, ack, password_hash, created_at, updated_at)"
                " SELECT :id, organisation_id, id, 60, false, :hash, :now, :now FROM sites WHERE id = :site"
            ),
            {
                "id": identifier,
                "hash": hash_mosquitto_password(password),
                "now": datetime.now(UTC),
                "site": site_id,
            },
        )


def inode(path: Path) -> int:
    return path.stat().st_ino


def rewriting(database: Database, path: Path) -> bool:
    """Whether a rewrite has begun that has not ended: who calls now is served by the next one."""
    known = broker_password_file._files_by_database[database][path]
    return known._begun > known._done


async def test_ten_callers_at_once_are_served_by_few_rewrites(
    site_id: str,
    database: Database,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await broker_password_file.sync_password_file(database, settings.broker)
    rewrites: list[str] = []

    def replace_text(path: Path, content: str, *, mode: int | None = None) -> None:
        rewrites.append(content)
        atomic_files.replace_file_text(path, content, mode=mode)

    monkeypatch.setattr(broker_password_file, "replace_file_text", replace_text)

    async def make(number: int, *, after: asyncio.Event) -> None:
        await add_box(database, site_id, f"box-{number}", f"password-{number}")
        ready.release()
        await after.wait()
        await broker_password_file.sync_password_file(database, settings.broker)
        assert await accepts(mosquitto, f"box-{number}", f"password-{number}")

    # Nine come while the first one's rewrite is under way, however long each of them takes to come.
    ready, first, others = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as callers:
        for number in range(10):
            callers.create_task(make(number, after=others if number else first))
        for _ in range(10):
            await ready.acquire()
        async with broker_password_file._exclusive(mosquitto.password_file):
            first.set()
            while not rewriting(database, mosquitto.password_file):  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)
            others.set()
            await asyncio.sleep(0.05)
            assert rewrites == []
    assert len(rewrites) == 2
    lines = mosquitto.password_file.read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [*ACCOUNTS, broker_password_file.PROBE]
    assert {line.split(":")[0] for line in lines[3:]} == {f"box-{number}" for number in range(10)}


async def test_two_processes_do_not_undo_each_other(
    site_id: str, database: Database, settings: VigieSettings, mosquitto: PrivateMosquitto
) -> None:
    second = Database(settings.database, application="tests-second")
    try:
        for number in range(6):
            await add_box(database, site_id, f"box-{number}", "secret")
            await asyncio.gather(
                broker_password_file.sync_password_file(database, settings.broker),
                broker_password_file.sync_password_file(second, settings.broker),
            )
            assert await accepts(mosquitto, f"box-{number}", "secret")
    finally:
        await second.close()


async def test_a_file_that_is_right_is_left_alone(
    site_id: str, database: Database, settings: VigieSettings, mosquitto: PrivateMosquitto
) -> None:
    await broker_password_file.sync_password_file(database, settings.broker)
    before = inode(mosquitto.password_file)
    await broker_password_file.sync_password_file(database, settings.broker, only_if_stale=True)
    assert inode(mosquitto.password_file) == before
    await add_box(database, site_id, "box-1", "secret")
    await broker_password_file.sync_password_file(database, settings.broker, only_if_stale=True)
    assert inode(mosquitto.password_file) != before
    assert await accepts(mosquitto, "box-1", "secret")
    # Written by somebody who did not live to tell the broker.
    (mosquitto.password_file.parent / ".passwords.lock").write_text("")
    before = inode(mosquitto.password_file)
    await broker_password_file.sync_password_file(database, settings.broker, only_if_stale=True)
    assert inode(mosquitto.password_file) != before


async def test_a_broker_that_is_not_there_is_no_error(site_id: str, database: Database, folder: Path) -> None:
    await add_box(database, site_id, "box-1", "secret")
    # A process that is not a Mosquitto must never get the signal: its default is to die of it.
    pid_file = folder / "mosquitto.pid"
    for pid in (None, "", "not a number", f"{os.getpid()}\n", "999999999"):
        if pid is not None:
            pid_file.write_text(pid)
        settings = BrokerSettings(password_file=folder / "passwords", pid_file=pid_file)
        await broker_password_file.sync_password_file(database, settings)
    written = folder / "passwords"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert re.fullmatch(r"\$probe:\S+\nbox-1:\$7\$101\$\S+\n", written.read_text())


async def test_a_folder_that_cannot_be_written_is_told_to_the_client(
    tenant: Tenant, site_id: str, settings: VigieSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings.broker, "password_file", folder / "missing" / "passwords")
    answer = await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_accounts")
    monkeypatch.undo()
    answer = await tenant.client.post("/v1/boxes/box-1/credentials")
    assert answer.status_code == 200


class Watcher:
    """Signals the broker after each change of the file, as a path unit of systemd does.

    Args:
        broker: The broker.
        missed: So many changes it does not notice at first.
    """

    def __init__(self, broker: PrivateMosquitto, missed: int = 0) -> None:
        self.signals = 0
        self._broker = broker
        self._missed = missed

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        path = self._broker.password_file
        seen = path.stat()
        while True:
            await asyncio.sleep(0.01)
            now = path.stat()
            if (now.st_ino, now.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns):
                continue
            seen = now
            if self._missed:
                self._missed -= 1
                continue
            self.signals += 1
            os.kill(int(self._broker.pid_file.read_text()), signal.SIGHUP)


@pytest.mark.parametrize("missed", [0, 1])
async def test_a_watcher_signals_the_broker_where_the_process_may_not(  # noqa: PLR0917 (fixtures)
    site_id: str,
    database: Database,
    settings: VigieSettings,
    mosquitto: PrivateMosquitto,
    monkeypatch: pytest.MonkeyPatch,
    missed: int,
) -> None:
    """The call returns when the account is in force, even if the watcher missed the change."""
    monkeypatch.setattr(broker_password_file, "_TIMEOUT_S", 60.0)
    if not missed:
        # Nothing is to be signalled twice, however slow the broker is.
        monkeypatch.setattr(broker_password_file, "_TOUCH_EVERY_S", 3600.0)
    watched = settings.broker.model_copy(update={"pid_file": None, "watches_password_file": True})
    watcher = Watcher(mosquitto, missed)
    async with watcher.watching():
        await add_box(database, site_id, f"watched-{missed}", "secret")
        await broker_password_file.sync_password_file(database, watched)
        assert await accepts(mosquitto, f"watched-{missed}", "secret")
    assert watcher.signals == 1


async def stay_connected(
    broker: PrivateMosquitto, username: str, password: str, connected: asyncio.Event
) -> None:
    """Fails when the broker ends the connection."""
    async with aiomqtt.Client(
        broker.host, broker.port, username=username, password=password, identifier=username
    ) as client:
        connected.set()
        await anext(aiter(client.messages))


@contextmanager
def running_reload(broker: PrivateMosquitto, folder: Path) -> Iterator[None]:
    """Run the script by which the broker's container watches its password file."""
    seen = folder / "seen"
    seen.touch()
    shutil.copystat(broker.password_file, seen)
    words = [str(RELOAD), broker.pid_file.read_text().strip(), str(broker.password_file), str(seen)]
    with subprocess.Popen(words) as script:  # noqa: S603 (our script)
        try:
            yield
            assert script.poll() is None, "it watches on"
        finally:
            script.kill()


async def test_the_broker_of_a_container_takes_new_accounts_and_cuts_revoked_ones_off(
    site_id: str,
    database: Database,
    mosquitto: PrivateMosquitto,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = VigieSettings(_env_file=None)
    monkeypatch.setattr(broker_password_file, "_TIMEOUT_S", 60.0)
    watched = settings.broker.model_copy(update={"pid_file": None, "watches_password_file": True})
    with running_reload(mosquitto, folder):
        began = time.monotonic()
        await add_box(database, site_id, "box-1", "secret")
        await broker_password_file.sync_password_file(database, watched)
        assert await accepts(mosquitto, "box-1", "secret")
        assert time.monotonic() - began < 30, "it was seen to be in force"
        connected = asyncio.Event()
        connection = asyncio.create_task(stay_connected(mosquitto, "box-1", "secret", connected))
        await asyncio.wait_for(connected.wait(), 60)
        async with database.write() as session:
            await session.execute(text("UPDATE boxes SET password_hash = '' WHERE id = 'box-1'"))
        await broker_password_file.sync_password_file(database, watched)
        with pytest.raises(aiomqtt.MqttError):
            await asyncio.wait_for(connection, 60)
        assert not await accepts(mosquitto, "box-1", "secret")
