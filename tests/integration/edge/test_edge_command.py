"""The command `vigie edge` refuses settings that cannot work."""

import asyncio
from pathlib import Path

import pytest

from app.message_log.log_ownership import LogSettingsError, check_log_settings, create_positions
from app.message_log.settings import MessageLogSettings
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.edge.machines import LogCluster
from tests.roles import working_as
from tests.scenarios.processes import RoleProcess


async def test_an_edge_without_a_message_log_says_what_to_set(
    settings: VigieSettings, tmp_path: Path
) -> None:
    assert settings.message_log.engine == "none"
    process = RoleProcess("edge", tmp_path / "edge.log")
    await process.start()
    assert process._process is not None
    assert await process._process.wait() == 2
    assert "VIGIE_MESSAGE_LOG__ENGINE" in process.log.read_text()


def log_settings(engine: str, partitions: int) -> MessageLogSettings:
    return MessageLogSettings.model_validate({"engine": engine, "partitions": partitions})


async def test_an_edge_with_settings_of_another_log_than_ingest_is_refused(database: Database) -> None:
    async with working_as("ingest", database) as ingest, working_as("maintain", database) as edge:
        writer, reader = await ingest.connect(), await edge.connect()
        await check_log_settings(reader, log_settings("kafka", 4))  # ingest did not run yet
        await create_positions(writer, log_settings("jetstream", 12))
        await check_log_settings(reader, log_settings("jetstream", 12))
        with pytest.raises(LogSettingsError, match="12 partitions") as raised:
            await check_log_settings(reader, log_settings("jetstream", 4))
        assert raised.value.code == "partitions_setting_differs"
        with pytest.raises(LogSettingsError, match="jetstream/vigie is in use") as raised:
            await check_log_settings(reader, log_settings("rabbitmq", 12))
        assert raised.value.code == "log_settings_differ"
        await writer.close()
        await reader.close()


@pytest.mark.parametrize("name", ["edge", "ingest"])
async def test_a_process_with_settings_of_another_log_ends_and_says_what_to_do(
    cluster: LogCluster, database: Database, tmp_path: Path, name: str
) -> None:
    connection = await database.connect()
    await create_positions(connection, cluster.settings.model_copy(update={"name": "former"}))
    await connection.close()
    process = RoleProcess(name, tmp_path / f"{name}.log")
    await process.start()
    assert process._process is not None
    assert await asyncio.wait_for(process._process.wait(), 60) == 1
    text = process.log.read_text()
    assert "log_settings_differ" in text
    assert "vigie close-log" in text


async def test_ingest_without_a_log_does_not_start_while_one_is_in_use(
    database: Database, tmp_path: Path
) -> None:
    connection = await database.connect()
    await create_positions(connection, log_settings("jetstream", 12))
    await connection.close()
    process = RoleProcess("ingest", tmp_path / "ingest.log")
    await process.start()
    assert process._process is not None
    assert await asyncio.wait_for(process._process.wait(), 60) == 1
    assert "log_settings_differ" in process.log.read_text()
