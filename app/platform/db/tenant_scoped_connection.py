"""Sets the caller of each transaction of a request in the round trip of its BEGIN.

These are settings of that transaction alone (`app.platform.kernel.tenant_scope.ScopedCaller.settings`), which
row-level security and the audit log read. They are part of the statement's text: only the simple protocol
accepts two statements together, and it has no parameters. `quote_literal` protects against SQL injection by a
caller's name.
"""

from typing import Any, Final

from app.platform.db.confirmed_connection import ConfirmedConnection
from app.platform.kernel.tenant_scope import current_caller

_BEGIN: Final = "BEGIN"


def quote_literal(value: str) -> str:
    r"""Quote a text as an SQL literal, as PostgreSQL's `quote_literal` does.

    The form `E'…'` does not depend on `standard_conforming_strings`. NUL characters, which PostgreSQL cannot
    store, are removed.
    """
    return "E'" + value.replace("\0", "").replace("\\", "\\\\").replace("'", "''") + "'"


def build_caller_statement() -> str:
    """Build the statement that sets the running task's caller for a transaction."""
    settings = current_caller().settings().items()
    return "SELECT " + ", ".join(
        f"set_config({quote_literal(name)}, {quote_literal(value)}, true)" for name, value in settings
    )


class TenantScopedConnection(ConfirmedConnection):
    """A connection whose transactions begin by setting the caller."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ANN401, ASYNC109 (asyncpg's own)
        """Execute a statement as `asyncpg.Connection` does; BEGIN also sets the caller."""
        if query.startswith(_BEGIN) and not args:
            query += build_caller_statement() + ";"
        return await super().execute(query, *args, timeout=timeout)
