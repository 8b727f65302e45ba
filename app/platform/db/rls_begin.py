"""How a request's transactions begin: the database is told whom each is for, in the round trip of its BEGIN.

What it is told are settings of that transaction alone
(`app.platform.kernel.tenant_scope.ScopedCaller.settings`), by which row-level security goes, and the audit
log. They are part of the statement's text: only the protocol's simple form takes two statements at once, and
it has no parameters. `quote_literal` is what keeps a caller's name from being more than a name.
"""

from typing import Any, Final

import asyncpg

from app.platform.kernel.tenant_scope import current_caller

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
