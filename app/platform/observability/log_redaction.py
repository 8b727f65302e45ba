"""How an error is told in a log where its own words could cite what somebody sent.

PostgreSQL's messages name values ("invalid input syntax for type …"), and so do those of Python's own errors.
What is told in their place finds the fault all the same: the class, PostgreSQL's code and the names of what
it concerned, and where in the program it was. Must not write logs itself.
"""

import traceback
from typing import Final

import asyncpg

_FRAMES: Final = 6
_CONCERNED: Final = ("schema_name", "table_name", "column_name", "constraint_name", "data_type_name")


def redact_error(error: BaseException) -> str:
    """An error's class; of one of PostgreSQL's also its code, and the names of table, column, constraint."""
    if isinstance(error, OSError) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, asyncpg.DataError | ValueError)
    ):
        # Of a connection, not of what goes over it.
        return repr(error)
    name = type(error).__name__
    if not isinstance(error, asyncpg.PostgresError):
        return name
    named = (getattr(error, each, None) for each in _CONCERNED)
    return " ".join([name, error.sqlstate or "", *(each for each in named if each)]).strip()


def list_error_frames(error: BaseException) -> list[str]:
    """The last calls before an error, as `file:line function`, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/app/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
