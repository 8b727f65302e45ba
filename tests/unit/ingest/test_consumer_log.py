"""What the log says when the consumer loses its database in the middle of a batch."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
from structlog.testing import capture_logs

from app.ingest.broker_input import BrokerInput
from app.ingest.consumer import IngestConsumer
from app.ingest.settings import IngestSettings
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
    assert 0 < lost["batch_ran_s"] < 5


def test_the_root_of_an_error_is_found_however_it_hangs_together() -> None:
    first, second, third = KeyError("a"), ValueError("b"), TypeError("c")
    third.__cause__, second.__context__ = second, first
    assert find_root_cause(third) is first
    first.__context__ = third
    assert find_root_cause(third) is first
    assert find_root_cause(OSError("alone")).args == ("alone",)
