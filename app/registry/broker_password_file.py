"""The accounts at the broker: Mosquitto's password file, rendered from the database.

Owns `broker.password_file`: the lines of `broker.static_password_file`, one line for a probe, one for each
living box, and one for each organisation that reads its alerts by MQTT (`broker_accounts`). Call
`sync_password_file` after the commit that changed credentials and before the response. Must not change the
database. Where no password file is set the accounts are the operator's own job, and this does nothing.

Mosquitto reads the file again on SIGHUP, and checks the password of every connected client against it, which
stops it for 0.05 ms a client (measured). So changes that come together share one rewrite, and the broker is
left alone afterwards for as long as the last one took.

Accounts at the broker that are no box's: those of the clients who read their alerts by MQTT.

Owns their names and passwords: an organisation has one at most, called `@` and its id, which no box's id can
be. Works inside the caller's transaction; the broker learns of it by `app.registry.broker_password_file`,
after the commit.
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

from app.platform.broker.connection import make_broker_client
from app.platform.broker.mosquitto_hash import format_password_line, hash_mosquitto_password
from app.platform.config.settings import BrokerSettings
from app.platform.db.database import Database, WriteSession
from app.platform.kernel.atomic_files import replace_file_text
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import BrokerAccount
from app.registry.service import generate_box_password

PROBE: Final = "$probe"
"""The account whose password is new in each file: no box's id can have a `$`, and no access rule names it."""

_PATIENCE_S: Final = 2.0
_LOCK_PATIENCE_S: Final = 15.0
_REST_MAX_S: Final = 1.0
_RETRY_S: Final = 0.005
_IN_FORCE: Final = b"in force"
# One text of all lines costs a tenth of ten thousand rows.
_LINES: Final = text(
    "SELECT concat_ws(E'\\n',"
    " (SELECT string_agg(id || ':' || password_hash, E'\\n' ORDER BY key)"
    " FROM boxes WHERE deleted_at IS NULL AND password_hash <> ''),"
    " (SELECT string_agg(username || ':' || password_hash, E'\\n' ORDER BY username) FROM broker_accounts))"
)
_log = get_logger(__name__)


class _Accounts:
    """The password file of one broker, as this process writes it."""

    def __init__(self, settings: BrokerSettings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._lock = asyncio.Lock()
        self._begun = 0
        self._done = 0
        self._rest_until = 0.0

    async def sync(self, database: Database, *, only_if_stale: bool) -> None:
        """Return when a rewrite that began after this call is in force, or was found not to be needed."""
        ticket = self._begun + 1
        async with self._lock:
            if self._done >= ticket:
                return
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._rest_until - loop.time()))
            self._begun += 1
            started = loop.time()
            async with _exclusive(self._path) as mark:
                await self._rewrite(database, mark, only_if_stale=only_if_stale)
            self._rest_until = loop.time() + min(loop.time() - started, _REST_MAX_S)
            self._done = self._begun

    async def _rewrite(self, database: Database, mark: int, *, only_if_stale: bool) -> None:
        # Under the file's lock: rows read before it could be older than those in the file.
        # The broker's file has everybody's, whoever asked for it to be written.
        with run_with_full_scope():
            async with database.read() as session:
                lines: str = (await session.execute(_LINES)).scalar_one()
        if (
            only_if_stale
            and os.pread(mark, 16, 0) == _IN_FORCE
            and await asyncio.to_thread(self._holds, lines)
        ):
            return
        password = secrets.token_urlsafe(18)
        os.ftruncate(mark, 0)
        await asyncio.to_thread(self._write, lines, format_password_line(PROBE, password))
        pid = self._broker()
        if pid is None:
            _log.info("broker_not_told", reason="not running here; it reads the file when it starts")
            return
        os.kill(pid, signal.SIGHUP)
        if await self._in_force(password):
            os.pwrite(mark, _IN_FORCE, 0)
        else:
            _log.warning("broker_accounts_unconfirmed", waited_s=_PATIENCE_S)

    def _render(self, lines: str, probe: str) -> str:
        static = self._settings.static_password_file
        first = static.read_text(encoding="utf-8") if static is not None else ""
        parts = [part.strip("\n") for part in (first, probe, lines)]
        return "\n".join(part for part in parts if part) + "\n"

    def _holds(self, lines: str) -> bool:
        """Tell whether the file is as it would be written now, whatever the probe's password is."""
        try:
            there = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        wanted = self._render(lines, "").splitlines()
        return [line for line in there if not line.startswith(f"{PROBE}:")] == wanted

    def _write(self, lines: str, probe: str) -> None:
        # In a folder that hands its group on, the group is the broker's, which must be able to read.
        shared = bool(self._path.parent.stat().st_mode & stat.S_ISGID)
        mode = None if self._path.exists() else 0o640 if shared else 0o600
        replace_file_text(self._path, self._render(lines, probe), mode=mode)

    def _broker(self) -> int | None:
        """The broker's process number, if the process that has it is a Mosquitto."""
        if self._settings.pid_file is None:
            return None
        try:
            pid = int(self._settings.pid_file.read_text(encoding="ascii"))
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return pid if name == "mosquitto" else None

    async def _in_force(self, password: str) -> bool:
        """Log in as the probe until the broker has read the file; False when it takes too long."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not await self._accepts(password):  # noqa: ASYNC110 (the broker tells in no other way)
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            return False
        return True

    async def _accepts(self, password: str) -> bool:
        probe = self._settings.model_copy(update={"username": PROBE, "password": SecretStr(password)})
        name = f"vigie-probe-{secrets.token_hex(8)}"
        try:
            async with make_broker_client(probe, timeout_s=_PATIENCE_S, identifier=name):
                return True
        except (aiomqtt.MqttError, OSError):
            return False


@asynccontextmanager
async def _exclusive(path: Path) -> AsyncIterator[int]:
    """Hold the lock of a file against other processes; the system lets go of it when its holder dies.

    Gives the lock's own file: it holds `_IN_FORCE` while the broker is known to have read the newest file.

    Raises:
        TimeoutError: another process holds it for too long.
        OSError: the folder cannot be written.
    """
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(_LOCK_PATIENCE_S):
            while not _try_lock(descriptor):  # noqa: ASYNC110 (a blocking flock could not be given up)
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


# By database, not by path alone: an asyncio lock belongs to the loop that its database belongs to.
_known: WeakKeyDictionary[Database, dict[Path, _Accounts]] = WeakKeyDictionary()


async def sync_password_file(
    database: Database, settings: BrokerSettings, *, only_if_stale: bool = False
) -> None:
    """Bring the broker's accounts up to date with the database, and wait until they are in force.

    A broker that is not running, or does not answer within two seconds, is no error: the file is right, and
    it is read at the next start.

    Args:
        database: Where the accounts are.
        settings: Where the file and the broker are.
        only_if_stale: Leave the broker alone where the file already says what the database does.

    Raises:
        OSError: The file cannot be written. The next call writes what this one could not.
        TimeoutError: Another process holds the file's lock for too long.
    """
    path = settings.password_file
    if path is None:
        return
    accounts = _known.setdefault(database, {})
    if path not in accounts:
        accounts[path] = _Accounts(settings, path)
    await accounts[path].sync(database, only_if_stale=only_if_stale)


MARK: Final = "@"
"""What the name of such an account, and so its level in topics, begins with."""


def make_account_username(organisation_id: UUID) -> str:
    """The name of an organisation's account."""
    return f"{MARK}{organisation_id}"


async def issue_account(session: WriteSession, organisation_id: UUID, now: datetime) -> str:
    """Make an organisation's account, or give it a new password: the former one no longer works.

    Args:
        session: The transaction.
        organisation_id: Whose it is; it exists.
        now: When it is made.

    Returns:
        The only copy of its password.
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
    """Remove an organisation's account; nothing happens where it has none."""
    await session.execute(delete(BrokerAccount).where(BrokerAccount.organisation_id == organisation_id))
