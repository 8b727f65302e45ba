"""`vigie close-log` ends the use of a log only once it is read to its end and nothing runs."""

from datetime import UTC, datetime

import pytest

from app.message_log.log_ownership import (
    LogSettingsError,
    create_positions,
    find_log_in_use,
    remove_positions,
)
from app.message_log.positions import join_workers, list_positions
from app.platform.broker.edges import EdgeReport, report_edge
from app.platform.db.database import Database, RawConnection
from app.processes import close_log_command
from app.processes.close_log_command import LogNotClosedError, close_log
from tests.integration.edge.machines import PARTITIONS, LogCluster

NOW = datetime(2026, 11, 30, tzinfo=UTC)


async def test_a_log_is_closed_once_it_is_read_to_its_end(cluster: LogCluster, database: Database) -> None:
    settings = cluster.all_settings
    assert await close_log(settings, discard_unread=False) == 0, "none is in use"
    log = await cluster.open()
    connection = await database.connect()
    await create_positions(connection, settings.message_log)
    await log.append(1, b"one", record_id="1")
    with pytest.raises(LogNotClosedError, match=r"1 \(1\)"):
        await close_log(settings, discard_unread=False)
    await connection.execute("UPDATE ingest_positions SET position = 2 WHERE partition = 1")
    with pytest.raises(LogNotClosedError, match=r"end before their committed position: 1\. "):
        await close_log(settings, discard_unread=False)
    await connection.execute("UPDATE ingest_positions SET position = 1 WHERE partition = 1")
    await report_edge(connection, EdgeReport("a", "h", 1883, NOW, True, None, 0, 0, None))
    with pytest.raises(LogNotClosedError, match="Edges append to the log: a"):
        await close_log(settings, discard_unread=False)
    await connection.execute("DELETE FROM edges")
    assert await close_log(settings, discard_unread=False) == PARTITIONS
    assert await find_log_in_use(connection) == (0, "")
    await connection.close()


async def test_unread_records_are_discarded_only_on_request_and_never_under_a_worker(
    cluster: LogCluster, database: Database
) -> None:
    settings = cluster.all_settings
    log = await cluster.open()
    connection = await database.connect()
    await create_positions(connection, settings.message_log)
    await log.append(0, b"one", record_id="1")
    worker = await database.connect()
    assert await join_workers(worker)
    with pytest.raises(LogNotClosedError, match="Ingest workers run"):
        await close_log(settings, discard_unread=True)
    assert len(await list_positions(connection)) == PARTITIONS, "a worker without partition needs them too"
    await worker.close()
    other = settings.message_log.model_copy(update={"name": "other"})
    others = settings.model_copy(update={"message_log": other})
    with pytest.raises(LogSettingsError):
        await close_log(others, discard_unread=False)
    assert await close_log(others, discard_unread=True) == PARTITIONS
    await connection.close()


async def test_no_worker_joins_between_the_checks_and_the_removal(
    cluster: LogCluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = cluster.all_settings
    connection, worker = await database.connect(), await database.connect()
    await create_positions(connection, settings.message_log)
    joined: list[bool] = []

    async def join_and_remove(closing: RawConnection) -> None:
        joined.append(await join_workers(worker))
        await remove_positions(closing)

    monkeypatch.setattr(close_log_command, "remove_positions", join_and_remove)
    assert await close_log(settings, discard_unread=True) == PARTITIONS
    assert joined == [False]
    assert await join_workers(worker), "the lock ends with the command"
    await worker.close()
    await connection.close()
