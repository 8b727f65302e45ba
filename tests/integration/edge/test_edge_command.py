"""The command `vigie edge` refuses settings that cannot work."""

from pathlib import Path

import pytest

from app.message_log.positions import PartitionCountError, check_partition_count, create_positions
from app.platform.db.database import Database
from app.settings import VigieSettings
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


async def test_an_edge_with_another_number_of_partitions_than_ingest_is_refused(database: Database) -> None:
    async with working_as("ingest", database) as ingest, working_as("maintain", database) as edge:
        writer, reader = await ingest.connect(), await edge.connect()
        await check_partition_count(reader, 4)  # ingest did not run yet
        await create_positions(writer, 12)
        await check_partition_count(reader, 12)
        with pytest.raises(PartitionCountError, match="12 partitions"):
            await check_partition_count(reader, 4)
        await writer.close()
        await reader.close()
