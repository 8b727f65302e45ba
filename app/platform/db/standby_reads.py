"""Runs reads on a standby of the database, and on the primary whenever a standby will not do.

A read runs on a standby only once that has replayed everything that was committed when the read began. So it
shows what the primary would show: the caller's own writes, whichever process stored them, and nothing that
was removed. A standby that needs longer than the bound on lag is not used. No error of a standby reaches the
caller: the read runs on the primary instead, and is counted with the reason.

While a standby has a fault, one read a second tries it, and the others run on the primary at once.

    rows = await reads.run(lambda session: read_rows(session, …))
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, NamedTuple, Self

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.database import (
    DATABASE_ERRORS,
    Database,
    RawConnection,
    ReadSession,
    get_driver_connection,
    is_transient,
)
from app.platform.db.primary_connection import split_hosts
from app.platform.db.prometheus_metrics import STANDBY_FALLBACKS, STANDBY_READS, STANDBY_WAIT_SECONDS
from app.platform.db.standby_connection import NoStandbyError, StandbyConnector
from app.platform.db.wal_positions import (
    PrimaryPosition,
    StandbyFault,
    StandbyUnusableError,
    WalPosition,
    wait_until_replayed,
)
from app.platform.observability.metrics_and_logs import get_logger, redact_error

type FallbackReason = (
    StandbyFault | Literal["unreachable", "primary_unreachable", "busy", "conflict", "slow", "no_answer"]
)

PROBE_EVERY_S: Final = 1.0
"""How often a standby with a fault is tried again (seconds)."""
# A standby that hangs in a statement is given up while there is time to ask the primary.
_TIMEOUT_SHARE: Final = 1 / 3
# Recovery cancels a statement that uses what it has to remove.
_CONFLICTS: Final = frozenset({"40001", "40P01"})
_CANCELLED: Final = "57014"
# Reasons that say nothing of the next read.
_PASSING: Final = frozenset({"busy", "conflict", "slow"})
_POOLED: Final = "_con"  # of asyncpg's proxy, which gives no other access to its connection
_log = get_logger(__name__)


class _PrimaryUnreachableError(ConnectionError):
    """The primary does not show its position."""


class SlowReadError(TimeoutError):
    """A statement on a standby that answers took too long. That says nothing of the standby."""


_REASONS: Final[Mapping[type[BaseException], FallbackReason]] = {
    NoStandbyError: "unreachable",
    _PrimaryUnreachableError: "primary_unreachable",
    SlowReadError: "slow",
    PoolTimeoutError: "busy",
}


def find_fallback_reason(error: BaseException) -> FallbackReason | None:
    """Return why a read failed on a standby; None if it would fail on the primary, too."""
    if isinstance(error, StandbyUnusableError):
        return error.fault
    if type(error) in _REASONS:
        return _REASONS[type(error)]
    cause = error.orig if isinstance(error, DBAPIError) else error
    if getattr(cause, "sqlstate", None) in _CONFLICTS:
        return "conflict"
    return "no_answer" if is_transient(error) else None


def _is_timeout(error: BaseException) -> bool:
    """Return whether a statement was given up: by the driver after its timeout, or by the server."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, TimeoutError) or getattr(cause, "sqlstate", None) == _CANCELLED


class StandbyFaults:
    """Remembers the fault of the standbys, and which reads may try them.

    Args:
        probe_every_s: How often they are tried while they have a fault (seconds).
    """

    def __init__(self, probe_every_s: float = PROBE_EVERY_S) -> None:
        self._probe_every_s = probe_every_s
        self._probe_at = 0.0
        self.current: FallbackReason | None = None

    def admit(self, now: float) -> bool:
        """Return whether a read may try a standby: each one without a fault, else one from time to time."""
        if self.current is not None:
            if now < self._probe_at:
                return False
            self._probe_at = now + self._probe_every_s
        return True

    def begin(self, reason: FallbackReason, now: float) -> bool:
        """Note a fault. Return whether it is another one than before."""
        is_new, self.current = reason != self.current, reason
        self._probe_at = now + self._probe_every_s
        return is_new

    def end(self) -> bool:
        """Note that a standby answered. Return whether there was a fault before."""
        had, self.current = self.current is not None, None
        return had


class StandbyReadsState(NamedTuple):
    """Counts the reads of a process that may run on a standby, since its start.

    Attributes:
        enabled: Whether reads may run on a standby.
        host: Name and port of the standby that was connected to last; None: none yet.
        max_lag_s: How long a read waits for it (seconds).
        standby_count: Number of reads that a standby answered.
        fallbacks: Number of reads that the primary answered, by reason.
        fault: Why reads run on the primary now; None: they run on a standby.
    """

    enabled: bool
    host: str | None
    max_lag_s: float
    standby_count: int
    fallbacks: dict[FallbackReason, int]
    fault: FallbackReason | None


class StandbyReads:
    """Decides which reads of a process run on a standby. Close it when done.

    Args:
        database: The connections to the primary.
        standby: The connections to a standby; None: all reads run on the primary.
        connector: Opens the connections to a standby; None likewise.
    """

    def __init__(
        self,
        database: Database,
        standby: Database | None = None,
        connector: StandbyConnector | None = None,
    ) -> None:
        self._database = database
        self._standby = standby
        self._connector = connector
        self._position = PrimaryPosition(database.connect)
        self._pools: list[asyncpg.Pool] = []
        self._faults = StandbyFaults()
        self._fallbacks: Counter[FallbackReason] = Counter()
        self._answered = 0
        self.max_lag_s: Final = database.settings.max_standby_lag_s

    @classmethod
    def of(
        cls,
        database: Database,
        *,
        application: str,
        role: str,
        tenants: bool = True,
        pools: str = "standby_",
        schema: str | None = None,
    ) -> Self:
        """Make it by the settings of the database.

        Args:
            database: The connections to the primary.
            application: The name of the connections to a standby.
            role: Their database role.
            tenants: Whether their transactions are limited to the caller.
            pools: What the names of their pools in metrics begin with.
            schema: Where names of tables are looked up first.
        """
        settings: DatabaseSettings = database.settings
        if settings.standby_reads and len(split_hosts(settings.url)) == 1:
            _log.warning("standby_reads_need_several_hosts", setting="VIGIE_DATABASE__URL")
        elif settings.standby_reads:
            timeout_s = settings.command_timeout_s * _TIMEOUT_SHARE
            connector = StandbyConnector(settings.url)
            standby = Database(
                settings.model_copy(update={"command_timeout_s": timeout_s}),
                application=application,
                role=role,
                tenants=tenants,
                connector=connector,
                pools=pools,
                schema=schema,
            )
            return cls(database, standby, connector)
        return cls(database)

    @property
    def state(self) -> StandbyReadsState:
        """The counts of reads, and the fault of the standby."""
        return StandbyReadsState(
            self._standby is not None,
            None if self._connector is None else self._connector.host,
            self.max_lag_s,
            self._answered,
            dict(self._fallbacks),
            self._faults.current,
        )

    def make_session_reads(self) -> "SessionReads":
        """Make the reads in the tenant scope of the caller, each in a session of its own."""
        if self._standby is None:
            return SessionReads(self._database.read)
        return SessionReads(
            self._database.read, StandbyRoute(self, self._standby.read, get_driver_connection)
        )

    async def make_pool_reads(
        self, pool: asyncpg.Pool, *, size: int, name: str, role: str
    ) -> "ReadSource[RawConnection]":
        """Make the reads on raw connections, for all tenants.

        Args:
            pool: Connections to the primary.
            size: Maximum connections to a standby.
            name: The name of their pool in metrics.
            role: Their database role.
        """
        if self._standby is None:
            return ReadSource(pool.acquire)
        standby = await self._standby.pool(size=size, name=name, eager=False, role=role)
        self._pools.append(standby)

        async def get_driver(connection: RawConnection) -> asyncpg.Connection:
            driver: asyncpg.Connection = getattr(connection, _POOLED)
            return driver

        return ReadSource(pool.acquire, StandbyRoute(self, standby.acquire, get_driver))

    def admit(self) -> FallbackReason | None:
        """Return None if the next read may try a standby, or else count it with the reason."""
        reason = self._faults.current
        if reason is None or self._faults.admit(_now()):
            return None
        self._count_fallback(reason)
        return reason

    async def read_position(self) -> WalPosition:
        """Return the position of the primary from now on."""
        try:
            return await self._position.read()
        except DATABASE_ERRORS as error:
            raise _PrimaryUnreachableError(redact_error(error)) from error

    def is_usable(self, driver: asyncpg.Connection) -> bool:
        """Return whether a read may use a connection: its host was not left since it was opened."""
        return self._connector is None or self._connector.is_usable(driver)

    def leave_host(self, driver: asyncpg.Connection, error: BaseException) -> None:
        """Use another standby than that of a connection, if the error is a fault of it."""
        reason = find_fallback_reason(error)
        if self._connector is not None and reason is not None and reason not in _PASSING:
            self._connector.leave_host(driver)

    def record_success(self) -> None:
        """Count a read that a standby answered."""
        self._answered += 1
        STANDBY_READS.inc()
        if self._faults.end():
            _log.info("standby_reads_resumed", host=self.state.host)

    def record_failure(self, reason: FallbackReason, error: BaseException) -> None:
        """Count a read that failed on a standby, and note the fault."""
        self._count_fallback(reason)
        if reason in _PASSING:
            return
        if self._faults.begin(reason, _now()):
            host = self.state.host
            _log.warning("standby_reads_stopped", reason=reason, host=host, error=redact_error(error))

    def _count_fallback(self, reason: FallbackReason) -> None:
        self._fallbacks[reason] += 1
        STANDBY_FALLBACKS.labels(reason).inc()

    async def close(self) -> None:
        """Close all connections to a standby, and the one that reads the position of the primary."""
        await self._position.close()
        for pool in self._pools:
            await pool.close()
        if self._standby is not None:
            await self._standby.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


class StandbyRoute[C](NamedTuple):
    """How reads of one kind run on a standby.

    Attributes:
        reads: Decides which of them do.
        open: Opens a connection, or a session, without beginning a transaction.
        get_driver: Returns the driver's connection of it.
    """

    reads: StandbyReads
    open: Callable[[], AbstractAsyncContextManager[C]]
    get_driver: Callable[[C], Awaitable[asyncpg.Connection]]

    async def run[T](self, work: Callable[[C], Awaitable[T]]) -> T:
        """Run a read on a standby that has replayed all that is committed now (DATABASE_ERRORS)."""
        began = _now()
        position = await self.reads.read_position()
        while True:
            async with self.open() as connection:
                driver = await self.get_driver(connection)
                if not self.reads.is_usable(driver):
                    driver.terminate()
                    continue
                try:
                    await _wait(driver, position, _now() + self.reads.max_lag_s)
                    STANDBY_WAIT_SECONDS.observe(_now() - began)
                    return await _read(work, connection)
                except DATABASE_ERRORS as error:
                    self.reads.leave_host(driver, error)
                    raise


async def _wait(driver: asyncpg.Connection, position: WalPosition, until: float) -> None:
    try:
        await wait_until_replayed(driver, position, until)
    except BaseException:
        # The next connection may be to another host.
        driver.terminate()
        raise


async def _read[C, T](work: Callable[[C], Awaitable[T]], connection: C) -> T:
    try:
        return await work(connection)
    except DATABASE_ERRORS as error:
        if _is_timeout(error):
            raise SlowReadError(redact_error(error)) from error
        raise


class ReadSource[C]:
    """Runs reads of one kind on a standby, or on the primary.

    Args:
        open_primary: Opens a connection, or a session, to the primary.
        standby: The way to a standby; None: all reads run on the primary.
    """

    def __init__(
        self,
        open_primary: Callable[[], AbstractAsyncContextManager[C]],
        standby: StandbyRoute[C] | None = None,
    ) -> None:
        self._open_primary = open_primary
        self._standby = standby

    async def run[T](self, work: Callable[[C], Awaitable[T]]) -> T:
        """Run a read, and return its result.

        Args:
            work: Reads on the connection that it gets. It may run twice: it must change nothing.
        """
        if self._standby is not None and self._standby.reads.admit() is None:
            try:
                result = await self._standby.run(work)
            except DATABASE_ERRORS as error:
                reason = find_fallback_reason(error)
                if reason is None:
                    raise
                self._standby.reads.record_failure(reason, error)
            else:
                self._standby.reads.record_success()
                return result
        async with self._open_primary() as connection:
            return await work(connection)


class SessionReads(ReadSource[ReadSession]):
    """Runs reads in the tenant scope of the caller, each with one snapshot of the database."""
