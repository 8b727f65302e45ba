"""Which database errors pass by themselves, and which mean that the schema is another one."""

import asyncpg
import pytest
from sqlalchemy.exc import ProgrammingError

from app.platform.db.database import is_schema_mismatch, is_transient


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("x"),
        asyncpg.DiskFullError("x"),
        asyncpg.ConnectionDoesNotExistError("x"),
        asyncpg.AdminShutdownError("x"),
        asyncpg.ReadOnlySQLTransactionError("x"),
        asyncpg.InvalidCachedStatementError("x"),
        TimeoutError(),
        ConnectionResetError(),
    ],
)
def test_what_passes_is_tried_again(error: Exception) -> None:
    assert is_transient(error)
    assert not is_schema_mismatch(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UndefinedColumnError("x"),
        asyncpg.UndefinedTableError("x"),
        asyncpg.InsufficientPrivilegeError("x"),
        asyncpg.InvalidCatalogNameError("x"),
        ProgrammingError("SELECT", None, asyncpg.UndefinedTableError("x")),
    ],
)
def test_a_schema_that_does_not_fit_is_nobodys_values(error: Exception) -> None:
    assert is_schema_mismatch(error)
    assert not is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CheckViolationError("x"),
        asyncpg.NumericValueOutOfRangeError("x"),
        ProgrammingError("SELECT", None, asyncpg.CheckViolationError("x")),
        ValueError("x"),
        KeyError("x"),
    ],
)
def test_what_the_values_are_to_blame_for_is_neither(error: Exception) -> None:
    assert not is_transient(error)
    assert not is_schema_mismatch(error)
