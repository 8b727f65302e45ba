"""Why a read leaves the standby, and when the next one may try it again."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.platform.db.standby_connection import NoStandbyError, StandbyConnector
from app.platform.db.standby_reads import SlowReadError, StandbyFaults, find_fallback_reason
from app.platform.db.wal_positions import StandbyUnusableError


def sqlalchemy_error(cause: Exception) -> DBAPIError:
    return DBAPIError("SELECT 1", None, cause)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StandbyUnusableError("lag"), "lag"),
        (StandbyUnusableError("timeline"), "timeline"),
        (NoStandbyError("nobody"), "unreachable"),
        (PoolTimeoutError(), "busy"),
        (asyncpg.SerializationError("canceling statement due to conflict with recovery"), "conflict"),
        (asyncpg.DeadlockDetectedError("deadlock"), "conflict"),
        (sqlalchemy_error(asyncpg.SerializationError("conflict")), "conflict"),
        (asyncpg.ConnectionDoesNotExistError("gone"), "no_answer"),
        (asyncpg.AdminShutdownError("the standby is stopped"), "no_answer"),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute nextval() during recovery"), "no_answer"),
        (TimeoutError(), "no_answer"),
        (SlowReadError(), "slow"),
        (ConnectionResetError(), "no_answer"),
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"), "no_answer"),
        (asyncpg.UndefinedTableError("absent"), None),
        (asyncpg.InterfaceError("the number of query arguments cannot exceed 32767"), None),
        (sqlalchemy_error(asyncpg.InterfaceError("the number of query arguments cannot exceed 32767")), None),
        (asyncpg.InterfaceError("the server expects 1 argument for this query, 2 were passed"), None),
        (asyncpg.DivisionByZeroError("division by zero"), None),
        (ProgrammingError("SELECT", None, asyncpg.UndefinedTableError("absent")), None),
    ],
)
def test_what_the_primary_would_raise_too_is_no_reason(error: Exception, reason: str | None) -> None:
    assert find_fallback_reason(error) == reason


def test_one_read_a_second_tries_a_standby_with_a_fault() -> None:
    faults = StandbyFaults(probe_every_s=1.0)
    assert all(faults.admit(now) for now in (10.0, 10.1))
    assert faults.begin("lag", 10.1)
    assert [faults.admit(now) for now in (10.2, 11.0, 11.1, 11.2, 11.3, 12.2)] == [
        *(False, False, True, False, False, True)
    ]
    assert not faults.begin("lag", 12.3), "it is the same fault"
    assert faults.begin("unreachable", 12.3)
    assert faults.current == "unreachable"
    assert faults.end()
    assert not faults.end()
    assert all(faults.admit(now) for now in (12.3, 12.3))


async def test_each_host_is_named_and_no_secret() -> None:
    connector = StandbyConnector("postgresql://vigie:secret@127.0.0.1:1,127.0.0.1:2/vigie")
    with pytest.raises(NoStandbyError) as caught:
        await connector.connect()
    assert "127.0.0.1:1: " in str(caught.value)
    assert "127.0.0.1:2: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert connector.host is None
