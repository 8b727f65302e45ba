"""Raises an error for a commit that is not known to be on a standby.

A commit waits for the synchronous standby. If a timeout, an administrator or a shutdown ends that wait,
PostgreSQL reports success, with a warning: "The transaction has already committed locally, but might not have
been replicated to the standby." A failover would then lose it. Nothing may be acknowledged on such a commit,
so the caller gets an error, and stores the same again.
"""

from typing import Any, Final

import asyncpg

_WARNING: Final = "WARNING"
# The function of PostgreSQL that sends the warning. The code of the warning is a general one (01000), and its
# text depends on the server's language.
_WAIT: Final = "SyncRepWaitForLSN"


class UnconfirmedCommitError(ConnectionError):
    """A transaction is committed on the primary, and perhaps nowhere else. The connection is closed."""


class ConfirmedConnection(asyncpg.Connection):
    """A connection whose commits succeed only when they are on the synchronous standby, if there is one."""

    _is_unconfirmed = False

    def _process_log_message(self, fields: dict[str, str], last_query: str) -> None:
        # A listener of asyncpg would be called later, and a pool removes it.
        if fields.get("V") == _WARNING and fields.get("R") == _WAIT:
            self._is_unconfirmed = True
        super()._process_log_message(fields, last_query)  # type: ignore[misc] # not in the stubs

    def _check(self) -> None:
        if self._is_unconfirmed:
            self.terminate()
            raise UnconfirmedCommitError("the wait for the synchronous standby ended before its answer")

    async def execute(self, *args: Any, **options: Any) -> str:  # noqa: ANN401 (asyncpg's own)
        """Execute a statement as `asyncpg.Connection` does. Transactions commit by it.

        Raises:
            UnconfirmedCommitError: The commit may be on the primary alone.
        """
        status = await super().execute(*args, **options)
        self._check()
        return str(status)

    async def executemany(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        """As `execute`, for several values."""
        await super().executemany(*args, **options)
        self._check()

    async def copy_records_to_table(self, *args: Any, **options: Any) -> str:  # noqa: ANN401
        """As `execute`, for a COPY."""
        status = await super().copy_records_to_table(*args, **options)
        self._check()
        return str(status)

    async def fetch(self, *args: Any, **options: Any) -> list[Any]:  # noqa: ANN401
        """As `execute`; returns the rows."""
        rows: list[Any] = await super().fetch(*args, **options)
        self._check()
        return rows

    async def fetchrow(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """As `execute`; returns the first row."""
        row = await super().fetchrow(*args, **options)
        self._check()
        return row

    async def fetchval(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """As `execute`; returns a value of the first row."""
        value = await super().fetchval(*args, **options)
        self._check()
        return value
