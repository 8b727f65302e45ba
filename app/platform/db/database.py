"""Manages connections to PostgreSQL: read and write sessions, tenant-scoped transactions and a raw pool.

`ReadSession` and `WriteSession` are different types: the type checker stops a function from getting the wrong
one, and PostgreSQL enforces it (`READ ONLY` transactions).

Lost connections are replaced when they leave the pool. A ping before each use would cost three round trips;
instead, the event loop notices when the server closes a connection, and only connections that were idle for
long get a ping.
"""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import Engine, MetaData, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry

from app.platform.config.platform_settings import DatabaseSettings
from app.platform.db.commit_steps import LAST_STEP
from app.platform.db.confirmed_connection import ConfirmedConnection
from app.platform.db.pool_gauges import observe_engine, observe_pool
from app.platform.db.primary_connection import PrimaryConnector
from app.platform.db.primary_watch import PrimaryWatch
from app.platform.db.tenant_scoped_connection import TenantScopedConnection
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, FULL_SCOPE, ScopedCaller

PING_AFTER_S: Final = 30.0
"""Idle time after which a connection gets a ping (seconds)."""

_SINCE: Final = "vigie.idle_since"


def is_connection_lost(connection: asyncpg.Connection) -> bool:
    """Return whether the event loop noticed that a connection was closed."""
    return connection.is_closed()


def replace_lost_connections(engine: Engine) -> None:
    """Replace lost connections when they leave an engine's pool.

    Args:
        engine: an engine of asyncpg.
    """

    @event.listens_for(engine, "checkin")
    def _on_checkin(_: Any, entry: ConnectionPoolEntry) -> None:  # noqa: ANN401 (DBAPI)
        entry.info[_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: Any, entry: ConnectionPoolEntry, _: Any) -> None:  # noqa: ANN401 (DBAPI)
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
"""A direct connection, or one from a pool."""


class Connector(Protocol):
    """Opens connections to one of the hosts of a database."""

    async def connect(self, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 (those of asyncpg)
        """Connect; takes the options of `asyncpg.connect`."""
        ...


LOOKUP_CONNECTIONS: Final = 2
"""Further connections of a process, for lookups of one statement."""

DATABASE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    SQLAlchemyError,
)
"""Errors of a database that is unavailable, busy or misconfigured; `is_transient` distinguishes them."""

# Classes of transient errors: connection, resources (a full disk), intervention, system, deadlocks, locks,
# transaction state.
_TRANSIENT_CLASSES = frozenset({"08", "53", "57", "58", "40", "55", "25"})
# Classes of mismatch between program and schema: access rights; unknown databases, schemas, statements,
# cursors, tables or columns.
_MISMATCH_CLASSES = frozenset({"28", "3D", "3F", "26", "34", "42"})


# The driver's messages about arguments that it does not send: their number, or their types.
_ARGUMENTS_REFUSED = re.compile(r"query arguments?\b|arguments? for this query")


def is_transient(error: BaseException) -> bool:
    """Return whether the operation may succeed on an unchanged retry."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    is_from_driver = isinstance(error, (DBAPIError, asyncpg.InterfaceError))
    if is_from_driver and _ARGUMENTS_REFUSED.search(str(cause)):
        return False
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        # Without a state there was no response: the connection was lost.
        return state is None or state[:2] in _TRANSIENT_CLASSES
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True  # a migration ran: the retry prepares the statement again
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _TRANSIENT_CLASSES
    if isinstance(error, SQLAlchemyError):
        return isinstance(error, PoolTimeoutError)
    return isinstance(error, DATABASE_ERRORS)


def is_schema_mismatch(error: BaseException) -> bool:
    """Return whether the schema does not fit the program, whatever the values are.

    A migration was not run, or permissions were not granted: the operator has to do so.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    return (getattr(cause, "sqlstate", None) or "")[:2] in _MISMATCH_CLASSES


class Base(DeclarativeBase):
    """The base of every mapped class."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class ReadSession(AsyncSession):
    """A session whose transaction is READ ONLY, with one snapshot of the database."""


class WriteSession(AsyncSession):
    """A session that commits when its block ends without an error."""


async def get_driver_connection(session: AsyncSession) -> asyncpg.Connection:
    """Return the driver's connection of a session, in the session's transaction if one has begun."""
    raw = await (await session.connection()).get_raw_connection()
    connection = raw.driver_connection
    assert isinstance(connection, asyncpg.Connection)  # noqa: S101 (there is no other driver)
    return connection


class Database:
    """One process's connections. Open with `async with`, or call `close` when done.

    Args:
        settings: the database's URL and limits.
        application: the application name that PostgreSQL shows for its connections.
        role: the database role to use (`vigie_api` …); None: that of the login.
        tenants: whether each transaction is limited to the caller of the running request
            (`app.platform.kernel.tenant_scope`). Processes that work for all tenants have database roles with
            access to everything.
        connector: opens the connections; None: one to the primary.
        pools: what the names of its pools in metrics begin with.
        schema: where names of tables are looked up first (`search_path`); None: in `public` only.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application: str,
        role: str | None = None,
        tenants: bool = False,
        connector: Connector | None = None,
        pools: str = "",
        schema: str | None = None,
    ) -> None:
        self.settings = settings
        self.on_access_change: Callable[[], None] | None = None
        self._application = application
        self._role = role
        self._tenants = tenants
        self._connector = connector or PrimaryConnector(settings.url)
        self._pools = pools
        self._schema = schema
        self._watch = PrimaryWatch(self._connector) if isinstance(self._connector, PrimaryConnector) else None
        self.engine = self._engine(settings.pool_size, self._server_settings())
        lookup_settings = {**self._server_settings(everything=True), "default_transaction_read_only": "on"}
        self._lookups = self._engine(LOOKUP_CONNECTIONS, lookup_settings, isolation_level="AUTOCOMMIT")
        observe_engine(f"{pools}requests", self.engine.sync_engine, settings.pool_size)
        observe_engine(f"{pools}lookups", self._lookups.sync_engine, LOOKUP_CONNECTIONS)
        self._look_up = async_sessionmaker(self._lookups, class_=ReadSession, expire_on_commit=False)
        # Uses the same pool. All queries of a response share a snapshot, so their results are consistent.
        reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._read = async_sessionmaker(reading, class_=ReadSession, expire_on_commit=False)
        self._write = async_sessionmaker(self.engine, class_=WriteSession, expire_on_commit=False)

    def _engine(self, size: int, server_settings: dict[str, str], **options: str) -> AsyncEngine:
        async def connect() -> asyncpg.Connection:
            return await self._open(
                command_timeout=self.settings.command_timeout_s,
                server_settings=server_settings,
                connection_class=TenantScopedConnection if self._tenants else ConfirmedConnection,
            )

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=size,
            max_overflow=0,
            # The most recently used connection has plans and pages cached.
            pool_use_lifo=True,
            pool_timeout=10,
            # Errors are logged, and a statement's values can be secrets and hashes.
            hide_parameters=True,
            **options,
        )
        replace_lost_connections(engine.sync_engine)
        return engine

    @asynccontextmanager
    async def look_up(self) -> AsyncIterator[ReadSession]:
        """Open a session in which each query is a separate transaction with full scope.

        For queries before the caller is known. A query takes one round trip, not four.
        """
        async with self._look_up() as session:
            yield session

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        """Open a session for queries: read-only, and all in the same snapshot."""
        async with self._read() as session:
            yield session

    @asynccontextmanager
    async def write(self, *, changes_access: bool = True) -> AsyncIterator[WriteSession]:
        """Open a session that commits at the end of the block and rolls back on an error.

        Args:
            changes_access: whether the block may change who has access to what: `on_access_change` is called
                after the commit.
        """
        async with self._write() as session:
            yield session
            step = LAST_STEP.get()
            if step is not None:
                await step(session)
            await session.commit()
        if changes_access and self.on_access_change is not None:
            self.on_access_change()

    async def connect(self) -> asyncpg.Connection:
        """Open a connection outside the pool, for bulk writes, LISTEN and advisory locks."""
        return await self._open(
            command_timeout=self.settings.command_timeout_s, server_settings=self._server_settings()
        )

    async def _open(self, *words: object, **options: Any) -> asyncpg.Connection:  # noqa: ANN401 (asyncpg's own)
        """Connect to the primary. The connection ends when it hangs and another host is the primary."""
        connection = await self._connector.connect(*words, **options)
        if self._watch is not None:
            self._watch.add(connection)
        return connection

    def _server_settings(self, role: str | None = None, *, everything: bool = False) -> dict[str, str]:
        """Return the server settings of each connection, so that the server soon notices a lost client.

        After a loss of power or network the server would by default hold the client's locks for two hours,
        and no standby could take over.
        """
        role = role or self._role
        return {
            **({} if role is None else {"role": role}),
            **({} if self._schema is None else {"search_path": f"{self._schema}, public"}),
            # The login has full scope by default: each transaction sets its caller's scope.
            **(ScopedCaller(FULL_SCOPE if everything else EMPTY_SCOPE).settings() if self._tenants else {}),
            "application_name": self._application,
            "timezone": "UTC",
            "tcp_keepalives_idle": "3",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "2",
            "tcp_user_timeout": "10000",
            # Applies also while a statement runs or waits for a lock.
            "client_connection_check_interval": "2000",
            # A process that is suspended in a transaction must not hold its locks forever.
            "idle_in_transaction_session_timeout": str(round(self.settings.command_timeout_s * 1000)),
        }

    async def pool(
        self,
        *,
        size: int,
        name: str = "work",
        eager: bool = True,
        role: str | None = None,
        everything: bool = True,
    ) -> asyncpg.Pool:
        """Make a small pool of raw connections, for work on all tenants: they set no caller.

        Args:
            name: its name in metrics.
            size: maximum connections.
            eager: connect immediately, and fail without a database; else connect on demand.
            role: a database role other than the process's.
            everything: whether row-level security shows them all tenants' rows; else only those of a scope
                that a transaction sets, also where the login shows all by default.
        """
        settings = self._server_settings(role, everything=True)
        if not everything:
            settings |= ScopedCaller(EMPTY_SCOPE).scope_settings
        return await self._pool(size, settings, name=name, eager=eager)

    async def reading_pool(
        self,
        *,
        size: int,
        connection_class: type[asyncpg.Connection],
        record_class: type[asyncpg.Record],
        prepare: Callable[[asyncpg.Connection], Awaitable[None]],
    ) -> asyncpg.Pool:
        """Make a pool of read-only connections that have access to nothing until their scope is set.

        Args:
            size: maximum connections, which are opened on demand.
            connection_class: their class.
            record_class: the class of their rows.
            prepare: called with each new connection.
        """
        settings = {
            **self._server_settings(),
            "default_transaction_read_only": "on",
            # Statements name chunks by constants: ChunkAppend would exclude them again, at thrice the cost.
            "timescaledb.enable_chunk_append": "off",
        }
        return await self._pool(
            size,
            settings,
            name="lists",
            eager=False,
            connection_class=connection_class,
            record_class=record_class,
            init=prepare,
        )

    async def _pool(
        self,
        size: int,
        server_settings: dict[str, str],
        *,
        name: str,
        eager: bool,
        **options: Any,  # noqa: ANN401 (asyncpg's own)
    ) -> asyncpg.Pool:
        options.setdefault("connection_class", ConfirmedConnection)
        opening = asyncpg.create_pool(
            connect=self._open,
            min_size=1 if eager else 0,
            max_size=size,
            command_timeout=self.settings.command_timeout_s,
            server_settings=server_settings,
            **options,
        )
        return observe_pool(f"{self._pools}{name}", await opening)

    async def close(self) -> None:
        """Close every pooled connection."""
        if self._watch is not None:
            await self._watch.close()
        await self.engine.dispose()
        await self._lookups.dispose()


def parse_row_count(tag: str) -> int:
    """Return the number of rows in a command tag of PostgreSQL, such as `DELETE 5`."""
    return int(tag.rpartition(" ")[2])
