"""What the log says when the consumer loses its database in the middle of a batch."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.ingest.broker_input import BrokerInput
from app.ingest.consumer import IngestConsumer, _LostError
from app.ingest.settings import IngestSettings
from app.message_log.positions import FencedError, LogChangedError
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database
from app.platform.observability.metrics_and_logs import find_root_cause
from app.platform.runtime.process_runner import ProcessContext


class _Broken:
    """A pipeline whose batch ends as one does that took too long."""

    async def commit(self, *_: object, **__: object) -> None:
        try:
            await asyncio.sleep(0.02)
            raise TimeoutError  # noqa: TRY301 (as asyncpg's command_timeout does inside the transaction)
        except TimeoutError:
            raise asyncpg.InterfaceError("cannot call Transaction.__aexit__()")  # noqa: B904 (as asyncpg does)


async def test_a_batch_that_took_too_long_is_named_as_the_cause() -> None:
    role = ProcessContext("ingest", cast("Database", None))
    settings = IngestSettings()
    consumer = IngestConsumer(
        role, settings, lambda: BrokerInput(settings, BrokerSettings()), samples_per_day=None
    )
    intake = SimpleNamespace(messages=[1, 2, 3])
    connection = SimpleNamespace(is_closed=lambda: True)

    async def hold_and_consume() -> None:
        role.stop.set()
        await consumer._commit(
            cast("Any", _Broken()), cast("Any", connection), cast("Any", intake), cast("Any", 0), None
        )

    consumer._hold_and_consume = hold_and_consume  # type: ignore[method-assign]
    role.stop.clear()
    with capture_logs() as logs:
        await consumer.run()
    (lost,) = [entry for entry in logs if entry["event"] == "database_lost"]
    assert lost["error"].startswith("InterfaceError('cannot call Transaction.__aexit__()")
    assert (lost["because"], lost["messages"]) == ("TimeoutError()", 3)
    assert 0 < lost["batch_ran_s"] < 60


@pytest.mark.parametrize(
    ("error", "state", "event"),
    [
        (
            FencedError("UPDATE 1 of 2 positions"),
            "waiting for partitions of the log",
            "partitions_taken_over",
        ),
        (LogChangedError("the log was recreated"), "waiting for the changed log", "log_changed"),
        (asyncpg.DiskFullError("full"), "waiting for the database: DiskFullError", "database_lost"),
    ],
)
async def test_a_worker_blames_the_database_only_for_its_own_errors(
    error: Exception, state: str, event: str
) -> None:
    role = ProcessContext("ingest", cast("Database", None))
    settings = IngestSettings()
    consumer = IngestConsumer(
        role, settings, lambda: BrokerInput(settings, BrokerSettings()), samples_per_day=None
    )

    async def hold_and_consume() -> None:
        role.stop.set()
        raise _LostError from error

    consumer._hold_and_consume = hold_and_consume  # type: ignore[method-assign]
    with capture_logs() as logs:
        await consumer.run()
    assert role.state == state
    assert [entry["event"] for entry in logs] == [event]


def test_the_root_of_an_error_is_found_however_it_hangs_together() -> None:
    first, second, third = KeyError("a"), ValueError("b"), TypeError("c")
    third.__cause__, second.__context__ = second, first
    assert find_root_cause(third) is first
    first.__context__ = third
    assert find_root_cause(third) is first
    assert find_root_cause(OSError("alone")).args == ("alone",)


@pytest.mark.parametrize("is_stopping", [False, True])
async def test_a_consumer_that_stops_processes_no_timers(
    is_stopping: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    """It may have dropped a batch of a backlog."""
    role, settings = ProcessContext("ingest", cast("Database", None)), IngestSettings()
    read = BrokerInput(settings, BrokerSettings())
    consumer = IngestConsumer(role, settings, lambda: read, samples_per_day=None)
    calls = []

    async def find_timer_time(connection: object) -> None:
        calls.append(connection)

    read.find_timer_time = find_timer_time  # type: ignore[method-assign]
    if is_stopping:
        role.stop.set()
    await consumer._look_around(cast("Any", None), cast("Any", "connection"), read, None)
    assert calls == ([] if is_stopping else ["connection"])
