"""Recovers a restored cluster on a socket in a private folder, without a network address."""

import asyncio
import re
import signal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import asyncpg

from app.backups.backup_target import (
    SUPERUSER,
    BackupError,
    BackupTarget,
    DamagedBackupError,
    TargetNotReachedError,
)

_PORT: Final = 5432  # only a part of the socket's name
_STOP_S: Final = 60.0
_POLL_S: Final = 0.1
_TAIL_LINES: Final = 15
_ACCESS: Final = "local all all trust\n"  # only PostgreSQL's account may enter the folder
_IDENTITIES: Final = ""
_NOT_REACHED: Final = "recovery ended before configured recovery target was reached"
# No socket yet, a busy machine, or the messages of a server that recovers or ends.
_NOT_YET: Final = (
    OSError,
    TimeoutError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
)
_LAST_TRANSACTION: Final = re.compile(r"last completed transaction was at log time (.+)")


class ScratchCluster:
    """Runs a restored cluster for the length of a block, and waits for its recovery first.

    Args:
        target: gives the account and the programs.
        data: the restored data directory.
        folder: a folder (0700, of PostgreSQL's account) for socket, configuration and log.
        durable: whether changes must survive a crash; False for copies that are removed.
    """

    def __init__(self, target: BackupTarget, data: Path, folder: Path, *, durable: bool) -> None:
        self._target = target
        self._data = data
        self._folder = folder
        self._durable = durable
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self._folder / "postgres.log"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def connect(self) -> asyncpg.Connection:
        """Connect to Vigie's database as the superuser."""
        database = self._target.settings.database
        return await asyncpg.connect(
            host=str(self._folder), port=_PORT, user=SUPERUSER, database=database, timeout=10
        )

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        self._target.set_owner(path)
        return path

    def _render_config(self) -> str:
        settings = {
            "listen_addresses": "''",
            "port": str(_PORT),
            "unix_socket_directories": f"'{self._folder}'",
            "unix_socket_permissions": "0700",
            "hba_file": f"'{self._write('pg_hba.conf', _ACCESS)}'",
            "ident_file": f"'{self._write('pg_ident.conf', _IDENTITIES)}'",
            "shared_preload_libraries": "'timescaledb'",
            "timescaledb.telemetry_level": "'off'",
            # TimescaleDB's background jobs would change the copy.
            "timescaledb.max_background_workers": "0",
            "autovacuum": "off",
            # With hot standby the limits of connections would have to be those of the original.
            "hot_standby": "off",
            "max_locks_per_transaction": "256",
            "shared_buffers": "'256MB'",
            "wal_level": "'replica'",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "timezone": "'UTC'",
            "log_timezone": "'UTC'",
            "log_destination": "'stderr'",
            "logging_collector": "off",
            "lc_messages": "'C'",
            "log_error_verbosity": "'terse'",
            "log_parameter_max_length_on_error": "0",
        }
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    async def _start(self) -> None:
        target = self._target
        config = self._write("postgresql.conf", self._render_config())
        self._write("postgres.log", "")
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *target.run_as,
                *(str(target.binaries / "postgres"), "-D", str(self._data)),
                # On the command line: the restored postgresql.auto.conf has precedence over the file.
                *("-c", f"config_file={config}", "-c", "archive_mode=off", "-c", "listen_addresses="),
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not await self._is_recovered():
            if self._process.returncode is not None:
                raise self._explain_end()
            await asyncio.sleep(_POLL_S)

    async def _is_recovered(self) -> bool:
        """Return whether recovery has ended (BackupError: it has, and no connection is possible)."""
        try:
            connection = await self.connect()
        except _NOT_YET:
            return False
        except asyncpg.InvalidCatalogNameError as error:
            raise BackupError(f"the restored cluster: {error}. Check VIGIE_BACKUP__DATABASE") from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DamagedBackupError(f"the restored cluster accepts no connection: {error}") from error
        try:
            return not await connection.fetchval("SELECT pg_is_in_recovery()")
        finally:
            await connection.close()

    def _explain_end(self) -> DamagedBackupError:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        message = f"the restored cluster does not recover:\n{self._select_severe_lines(text)}"
        if _NOT_REACHED not in text:
            return DamagedBackupError(message)
        last = _LAST_TRANSACTION.findall(text)
        return TargetNotReachedError(message, last[-1] if last else "unknown")

    @staticmethod
    def _select_severe_lines(text: str) -> str:
        lines = text.splitlines()
        severe = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "HINT"))]
        return "\n".join(f"  {line}" for line in (severe or lines)[-_TAIL_LINES:])

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        # SIGINT (fast shutdown) writes a checkpoint, which a copy that is removed does not need.
        process.send_signal(signal.SIGINT if self._durable else signal.SIGQUIT)
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            if self._durable:
                raise BackupError(f"the restored cluster did not stop: see {self.log}") from None
