"""Executes a fixed query by the driver, within the transaction of a session."""

from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.database import get_driver_connection


class DriverQuery:
    """A query of many flat rows, which the driver executes: SQLAlchemy's rows take as long as the query.

    Args:
        statement: the query, whose parameters have names.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        compiled = statement.compile(
            dialect=asyncpg_dialect(),  # type: ignore[no-untyped-call] # as SQLAlchemy has it
            compile_kwargs={"render_postcompile": True},
        )
        self._sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._values = compiled.params

    async def fetch(self, session: AsyncSession, **values: Any) -> list[Any]:  # noqa: ANN401 (a column's type)
        """Execute it in a session's transaction.

        Args:
            session: a statement of it was executed before, which began the transaction.
            **values: the parameters.

        Returns:
            The rows, as tuples.

        Raises:
            RuntimeError: no transaction has begun: the caller's tenant scope is not set.
        """
        connection = await get_driver_connection(session)
        if not connection.is_in_transaction():
            raise RuntimeError("execute a statement of the session first")
        return await connection.fetch(self._sql, *((self._values | values)[name] for name in self._names))
