"""Connections to PostgreSQL: read and write sessions as different types, and a raw pool for bulk writes.

A function that takes a `ReadSession` cannot be handed a `WriteSession` by mistake, nor the reverse: the
type checker sees it, and PostgreSQL holds it (`READ ONLY` transactions).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import MetaData
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from app.platform.config.settings import DatabaseSettings
from app.platform.db.idle_connections import replace_lost_connections
from app.platform.db.rls_begin import TenantScopedConnection
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, FULL_SCOPE, ScopedCaller

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
