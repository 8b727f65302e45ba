"""Connections to PostgreSQL: read and write sessions as different types, and a raw pool for bulk writes.

A function that takes a `ReadSession` cannot be handed a `WriteSession` by mistake, nor the reverse: the
type checker sees it, and PostgreSQL holds it (`READ ONLY` transactions).

Connections of a pool that were lost while nobody used them.

A ping before each use costs three round trips. Here the connection itself tells: the event loop has seen the
end of one whose server went away. Only one that was idle for long is asked, in case nobody said good-bye.

How a request's transactions begin: the database is told whom each is for, in the round trip of its BEGIN.

What it is told are settings of that transaction alone
(`app.platform.kernel.tenant_scope.ScopedCaller.settings`), by which row-level security goes, and the audit
log. They are part of the statement's text: only the protocol's simple form takes two statements at once, and
it has no parameters. `quote_literal` is what keeps a caller's name from being more than a name.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import Engine, MetaData, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry

from app.platform.config.settings import DatabaseSettings
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, FULL_SCOPE, ScopedCaller, current_caller

_BEGIN: Final = "BEGIN"


def quote_literal(value: str) -> str:
    r"""A text as a literal of SQL, whatever is in it: as PostgreSQL's `quote_literal` writes it.

    The form `E'…'` means the same under each setting of `standard_conforming_strings`. A NUL, which
    PostgreSQL's texts cannot have, is left out.
    """
    return "E'" + value.replace("\0", "").replace("\\", "\\\\").replace("'", "''") + "'"


def build_caller_statement() -> str:
    """The statement that tells for whom the running task's transaction is."""
    settings = current_caller().settings().items()
    return "SELECT " + ", ".join(
        f"set_config({quote_literal(name)}, {quote_literal(value)}, true)" for name, value in settings
    )


class TenantScopedConnection(asyncpg.Connection):
    """A connection whose transactions begin with what the database has to be told."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ANN401, ASYNC109 (asyncpg's own)
        """Execute a statement, as `asyncpg.Connection` does; the one that begins a transaction also tells."""
        if query.startswith(_BEGIN) and not args:
            query += build_caller_statement() + ";"
        return await super().execute(query, *args, timeout=timeout)


PING_AFTER_S: Final = 30.0
"""An idle connection is asked after so long (s)."""

_SINCE: Final = "vigie.idle_since"


def is_connection_lost(connection: asyncpg.Connection) -> bool:
    """Whether the end of a connection was seen: the server said good-bye, or its machine did for it."""
    return connection.is_closed()


def replace_lost_connections(engine: Engine) -> None:
    """Have connections that were lost replaced when they are taken out of an engine's pool.

    Args:
        engine: one of asyncpg; what is asked is asked in its own way.
    """

    @event.listens_for(engine, "checkin")
    def _laid_down(_: Any, entry: ConnectionPoolEntry) -> None:  # noqa: ANN401 (DBAPI)
        entry.info[_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _taken_up(connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:  # noqa: ANN401 (DBAPI)
        if is_connection_lost(connection.driver_connection):
            raise DisconnectionError
        since = entry.info.pop(_SINCE, None)
        if since is None or time.monotonic() - since < PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except (engine.dialect.loaded_dbapi.Error, OSError) as error:
            raise DisconnectionError from error


NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

type RawConnection = asyncpg.Connection | PoolConnectionProxy
"""A connection of its own, or one borrowed from a pool."""

LOOKUP_CONNECTIONS: Final = 2
"""Connections that a process may hold besides, for lookups of one statement."""

DATABASE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    SQLAlchemyError,
)
"""What a database that is away, busy or in the way can raise; `is_transient` tells which are such."""

# Connection, resources (a full disk), intervention, system, deadlocks, locks, transaction state.
_PASSING = frozenset({"08", "53", "57", "58", "40", "55", "25"})
# Access rights; names of databases, schemas, statements and cursors; tables or columns that are not there:
# program and schema do not fit, whatever values are given.
_UNFIT = frozenset({"28", "3D", "3F", "26", "34", "42"})


def is_transient(error: BaseException) -> bool:
    """Tell whether what failed so may succeed when it is tried again as it is."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        # Without a state the server said nothing: the connection was lost.
        return state is None or state[:2] in _PASSING
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True  # a migration ran meanwhile: the statement is prepared anew the next time
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _PASSING
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, PoolTimeoutError)
    return isinstance(error, DATABASE_ERRORS)


def is_schema_mismatch(error: BaseException) -> bool:
    """Tell whether the schema does not fit the program: no values would have been taken.

    A migration that was not run, or rights that were not granted: it passes once the operator has done so.
    """
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "")[:2] in _UNFIT


class Base(DeclarativeBase):
    """The base of every mapped class."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class ReadSession(AsyncSession):
    """A session whose transaction is READ ONLY, and sees one moment of the database."""


class WriteSession(AsyncSession):
    """A session that commits when its block ends without an error."""


async def get_driver_connection(session: AsyncSession) -> asyncpg.Connection:
    """Return the driver's connection of a session, in the session's transaction if one has begun."""
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, asyncpg.Connection)  # noqa: S101 (there is no other driver)
    return connection


_LAST_STEP: ContextVar[Callable[[WriteSession], Awaitable[None]] | None] = ContextVar(
    "vigie_last_step", default=None
)


@contextmanager
def add_commit_step(step: Callable[[WriteSession], Awaitable[None]]) -> Iterator[None]:
    """Have each transaction of `Database.write` within a block end with a step, committed with it."""
    token = _LAST_STEP.set(step)
    try:
        yield
    finally:
        _LAST_STEP.reset(token)


@contextmanager
def suspend_commit_step() -> Iterator[None]:
    """Have transactions within a block end without the step of `add_commit_step`.

    For what is written beside a request's work, and whether or not that is done: what is counted and recorded
    of it.
    """
    token = _LAST_STEP.set(None)
    try:
        yield
    finally:
        _LAST_STEP.reset(token)


class Database:
    """One process's connections. Open with `async with`, or call `close` when done.

    Args:
        settings: where it is, and as whom to log in.
        application: what PostgreSQL shows of its connections.
        role: the database's role to work under (`vigie_api` …); None: the one that logs in.
        tenants: whether each transaction is for the caller of the running request
        (`app.platform.kernel.tenant_scope`), and
            sees nothing of anybody else's. Processes that work for everybody have roles that say so.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application: str,
        role: str | None = None,
        tenants: bool = False,
    ) -> None:
        self.settings = settings
        self._application = application
        self._role = role
        self._tenants = tenants
        self.engine = self._engine(settings.pool_size, self._server_settings())
        told = {**self._server_settings(everything=True), "default_transaction_read_only": "on"}
        self._lookups = self._engine(LOOKUP_CONNECTIONS, told, isolation_level="AUTOCOMMIT")
        self._look_up = async_sessionmaker(self._lookups, class_=ReadSession, expire_on_commit=False)
        # Connections of the same pool. All that an answer consists of is of one moment: what is read of one
        # table still holds for what is read of the next.
        reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._read = async_sessionmaker(reading, class_=ReadSession, expire_on_commit=False)
        self._write = async_sessionmaker(self.engine, class_=WriteSession, expire_on_commit=False)

    def _engine(self, size: int, told: dict[str, str], **options: str) -> AsyncEngine:
        engine = create_async_engine(
            self.settings.sqlalchemy_url,
            pool_size=size,
            max_overflow=0,
            # The connection that was used last has its statements planned, and its pages at hand.
            pool_use_lifo=True,
            pool_timeout=10,
            # Errors are logged, and the values of a statement can be secrets and hashes.
            hide_parameters=True,
            connect_args={
                "timeout": 10,
                "command_timeout": self.settings.command_timeout_s,
                "server_settings": told,
                "connection_class": TenantScopedConnection if self._tenants else asyncpg.Connection,
            },
            **options,
        )
        replace_lost_connections(engine.sync_engine)
        return engine

    @asynccontextmanager
    async def look_up(self) -> AsyncIterator[ReadSession]:
        """A session in which each query is a transaction of its own, and the program's: it sees everything.

        For what is asked before it is known who the caller is. A query is one round trip, not four.
        """
        async with self._look_up() as session:
            yield session

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        """A session for queries; nothing can be written through it, and all see the same moment."""
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteSession]:
        """A session that commits at the end of the block and rolls back on an error."""
        async with self._write() as session:
            yield session
            step = _LAST_STEP.get()
            if step is not None:
                await step(session)
            await session.commit()

    async def connect(self) -> asyncpg.Connection:
        """A connection of its own, outside the pool, for bulk writes, LISTEN and advisory locks."""
        return await asyncpg.connect(
            self.settings.url,
            timeout=10,
            command_timeout=self.settings.command_timeout_s,
            server_settings=self._server_settings(),
        )

    def _server_settings(self, role: str | None = None, *, everything: bool = False) -> dict[str, str]:
        """What each connection asks of the server: above all to notice soon when we are gone.

        A machine that loses its power or its network says no goodbye: by default the server would keep its
        advisory and row locks for two hours, and no standby could take over.
        """
        role = role or self._role
        return {
            **({} if role is None else {"role": role}),
            # Whoever logs in may reach everything by default: each transaction says whom it is for.
            **(ScopedCaller(FULL_SCOPE if everything else EMPTY_SCOPE).settings() if self._tenants else {}),
            "application_name": self._application,
            "timezone": "UTC",
            "tcp_keepalives_idle": "3",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "2",
            "tcp_user_timeout": "10000",
            # Also while a statement runs or waits for a lock.
            "client_connection_check_interval": "2000",
            # A process that was suspended in the middle of a transaction must not hold its locks for ever.
            "idle_in_transaction_session_timeout": str(round(self.settings.command_timeout_s * 1000)),
        }

    async def pool(self, *, size: int, eager: bool = True, role: str | None = None) -> asyncpg.Pool:
        """A small pool of raw connections, for work that is everybody's: they are told of no caller.

        Args:
            size: the most that are open at once.
            eager: connect at once, and fail where there is no database; else when a connection is needed.
            role: another role to work under than the process's own.
        """
        return await asyncpg.create_pool(
            self.settings.url,
            min_size=1 if eager else 0,
            max_size=size,
            timeout=10,
            command_timeout=self.settings.command_timeout_s,
            server_settings=self._server_settings(role, everything=True),
        )

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()
        await self._lookups.dispose()


def parse_row_count(tag: str) -> int:
    """Return the number of rows in a command tag of PostgreSQL, such as `DELETE 5`."""
    return int(tag.rpartition(" ")[2])
