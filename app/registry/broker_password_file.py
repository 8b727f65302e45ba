"""Writes Mosquitto's password file from the database, and manages the MQTT accounts of organisations.

Owns `broker.password_file`: the lines of `broker.static_password_file`, a line of a probe account, one for
each box that is not deleted, and one for each account in `broker_accounts`, with which an organisation reads
its alerts by MQTT. A process without a password file asks those that have one (`ACCOUNTS_CHANNEL`): the API
may run on another machine than the broker. If no process has one, the operator manages the accounts.

Call `sync_password_file` after the commit that changed credentials and before the response. `issue_account`
and `delete_account` work in the caller's transaction, before that. An organisation has one account at most.
Its name is `@` and the organisation's id, which no box id can be.

On SIGHUP Mosquitto reads the file again and checks the password of every connected client, which blocks it
for 0.05 ms a client (measured). So concurrent changes share one rewrite, followed by a pause as long as the
rewrite.

With `broker.watches_password_file` another program sends the signal: on a server, the processes run under
another account than the broker and may not signal it.
"""

import asyncio
import fcntl
import os
import secrets
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

import aiomqtt
from pydantic import SecretStr
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert

from app.platform.broker.broker_client_factory import make_broker_client
from app.platform.broker.mosquitto_password_hash import format_password_line, hash_mosquitto_password
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database, WriteSession
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.box_service import generate_box_password
from app.registry.models import BrokerAccount

ACCOUNTS_CHANNEL: Final = "vigie_broker_accounts"
"""Notifications of the database: accounts have changed."""

PROBE: Final = "$probe"
"""The probe account. Each file has a new password for it. No box id contains `$`; no access rule names it."""

_TIMEOUT_S: Final = 2.0
_LOCK_TIMEOUT_S: Final = 15.0
_PAUSE_MAX_S: Final = 1.0
_RETRY_S: Final = 0.005
# A watcher may miss a change while it processes the one before.
_TOUCH_EVERY_S: Final = 0.5
_IN_FORCE: Final = b"in force"
# Aggregating all lines to one text costs a tenth of fetching ten thousand rows.
_LINES: Final = text(
    "SELECT concat_ws(E'\\n',"
    " (SELECT string_agg(id || ':' || password_hash, E'\\n' ORDER BY key)"
    " FROM boxes WHERE deleted_at IS NULL AND password_hash <> ''),"
    " (SELECT string_agg(username || ':' || password_hash, E'\\n' ORDER BY username) FROM broker_accounts))"
)
_ASK_OTHERS: Final = text(f"NOTIFY {ACCOUNTS_CHANNEL}")
_log = get_logger(__name__)


class _PasswordFile:
    """Writes the password file of one broker, one rewrite at a time."""

    def __init__(self, settings: BrokerSettings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._lock = asyncio.Lock()
        self._begun = 0
        self._done = 0
        self._pause_until = 0.0

    async def sync(self, database: Database, *, only_if_stale: bool) -> None:
        """Return once a rewrite that began after this call is in force, or proved unnecessary."""
        generation = self._begun + 1
        async with self._lock:
            if self._done >= generation:
                return
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._pause_until - loop.time()))
            self._begun += 1
            started = loop.time()
            async with _exclusive(self._path) as lock_file:
                await self._rewrite(database, lock_file, only_if_stale=only_if_stale)
            self._pause_until = loop.time() + min(loop.time() - started, _PAUSE_MAX_S)
            self._done = self._begun

    async def _rewrite(self, database: Database, lock_file: int, *, only_if_stale: bool) -> None:
        # Under the file lock: rows read before it could be older than those in the file.
        # The file holds the accounts of all tenants, whichever request triggers the rewrite.
        with run_with_full_scope():
            async with database.read() as session:
                lines: str = (await session.execute(_LINES)).scalar_one()
        if (
            only_if_stale
            and os.pread(lock_file, 16, 0) == _IN_FORCE
            and await asyncio.to_thread(self._is_up_to_date, lines)
        ):
            return
        password = secrets.token_urlsafe(18)
        os.ftruncate(lock_file, 0)
        await asyncio.to_thread(self._write, lines, format_password_line(PROBE, password))
        if not self._settings.watches_password_file:
            pid = self._read_broker_pid()
            if pid is None:
                _log.info("broker_not_told", reason="not running here; it reads the file when it starts")
                return
            os.kill(pid, signal.SIGHUP)
        if await self._wait_until_in_force(password):
            os.pwrite(lock_file, _IN_FORCE, 0)
        else:
            _log.warning("broker_accounts_unconfirmed", waited_s=_TIMEOUT_S)

    def _render(self, lines: str, probe: str) -> str:
        static = self._settings.static_password_file
        first = static.read_text(encoding="utf-8") if static is not None else ""
        parts = [part.strip("\n") for part in (first, probe, lines)]
        return "\n".join(part for part in parts if part) + "\n"

    def _is_up_to_date(self, lines: str) -> bool:
        """Whether the file is up to date, without regard to the probe's password."""
        try:
            current = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        expected = self._render(lines, "").splitlines()
        return [line for line in current if not line.startswith(f"{PROBE}:")] == expected

    def _write(self, lines: str, probe: str) -> None:
        # In a setgid folder the file gets the broker's group, which must be able to read it.
        shared = bool(self._path.parent.stat().st_mode & stat.S_ISGID)
        mode = None if self._path.exists() else 0o640 if shared else 0o600
        replace_file_text(self._path, self._render(lines, probe), mode=mode)

    def _read_broker_pid(self) -> int | None:
        """Read the broker's process id; None unless it is the id of a Mosquitto process."""
        if self._settings.pid_file is None:
            return None
        try:
            pid = int(self._settings.pid_file.read_text(encoding="ascii"))
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return pid if name == "mosquitto" else None

    async def _wait_until_in_force(self, password: str) -> bool:
        """Log in as the probe until the broker has read the file. False after the timeout."""
        clock = asyncio.get_running_loop().time
        touched_at = clock()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while not await self._can_log_in(password):
                    await asyncio.sleep(_RETRY_S)
                    if self._settings.watches_password_file and clock() - touched_at > _TOUCH_EVERY_S:
                        touched_at = clock()
                        self._path.touch()
        except TimeoutError:
            return False
        return True

    async def _can_log_in(self, password: str) -> bool:
        probe = self._settings.model_copy(update={"username": PROBE, "password": SecretStr(password)})
        name = f"vigie-probe-{secrets.token_hex(8)}"
        try:
            async with make_broker_client(probe, timeout_s=_TIMEOUT_S, identifier=name):
                return True
        except (aiomqtt.MqttError, OSError):
            return False


@asynccontextmanager
async def _exclusive(path: Path) -> AsyncIterator[int]:
    """Lock the password file against other processes. The system releases the lock if the process dies.

    Yields the descriptor of the lock file. It contains `_IN_FORCE` if the broker has read the newest file.

    Raises:
        TimeoutError: Another process holds the lock for too long.
        OSError: The folder cannot be written.
    """
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(_LOCK_TIMEOUT_S):
            while not _try_lock(descriptor):  # noqa: ASYNC110 (a blocking flock cannot be cancelled)
                await asyncio.sleep(_RETRY_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# By database, not by path alone: an asyncio lock belongs to one event loop, as a database does.
_files_by_database: WeakKeyDictionary[Database, dict[Path, _PasswordFile]] = WeakKeyDictionary()


async def sync_password_file(
    database: Database, settings: BrokerSettings, *, only_if_stale: bool = False
) -> None:
    """Write the broker's accounts from the database, and wait until they are in force.

    Without a password file it notifies `vigie maintain` instead, which writes its own about a second later.

    It is no error if the broker is not running or does not answer within two seconds: it reads the file at
    its next start.

    Args:
        database: The database with the accounts.
        settings: The paths of the file and the address of the broker.
        only_if_stale: Do not signal the broker if the file is up to date.

    Raises:
        OSError: The file cannot be written. The next call writes it.
        TimeoutError: Another process holds the file's lock for too long.
    """
    path = settings.password_file
    if path is None:
        await notify_account_change(database)
        return
    accounts = _files_by_database.setdefault(database, {})
    if path not in accounts:
        accounts[path] = _PasswordFile(settings, path)
    await accounts[path].sync(database, only_if_stale=only_if_stale)


async def notify_account_change(database: Database) -> None:
    """Notify the processes that have a password file: `vigie maintain`, or the edges of several brokers."""
    async with database.write() as session:
        await session.execute(_ASK_OTHERS)


ACCOUNT_PREFIX: Final = "@"
"""The prefix of the name of an organisation's account, and so of its level in topics."""


def make_account_username(organisation_id: UUID) -> str:
    """Make the name of an organisation's account."""
    return f"{ACCOUNT_PREFIX}{organisation_id}"


async def issue_account(session: WriteSession, organisation_id: UUID, now: datetime) -> str:
    """Create an organisation's account, or rotate its password: the previous one no longer works.

    Args:
        session: The transaction.
        organisation_id: The organisation, which must exist.
        now: The time of creation.

    Returns:
        The only copy of the password.
    """
    password = generate_box_password()
    hashed = hash_mosquitto_password(password)
    values = {"username": make_account_username(organisation_id), "organisation_id": organisation_id}
    statement = insert(BrokerAccount).values(**values, password_hash=hashed, created_at=now)
    await session.execute(
        statement.on_conflict_do_update(index_elements=["username"], set_={"password_hash": hashed})
    )
    return password


async def delete_account(session: WriteSession, organisation_id: UUID) -> None:
    """Delete an organisation's account, if it has one."""
    await session.execute(delete(BrokerAccount).where(BrokerAccount.organisation_id == organisation_id))
