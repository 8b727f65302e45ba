"""What every engine must do: order, large records, cancelled waits, limits, descriptions, absent nodes."""

import asyncio
from contextlib import suppress

import pytest

from app.message_log.message_log import LogFullError, LogUnavailableError, MessageLog
from app.message_log.message_log_factory import make_message_log
from app.message_log.settings import MessageLogSettings
from tests.integration.message_log.conftest import MakeLog, read_all
from tests.scenarios.processes import until


def engine_of(log: MessageLog) -> str:
    settings: MessageLogSettings = log._settings  # type: ignore[attr-defined]
    return settings.engine


async def test_each_partition_returns_its_records_in_order(make_log: MakeLog) -> None:
    log = await make_log()
    returned: dict[int, list[int | None]] = {0: [], 1: [], 2: []}
    for number in range(40):
        for partition, positions in returned.items():
            data = f"{partition}.{number}".encode()
            positions.append(await log.append(partition, data, record_id=f"{partition}.{number}"))
    for partition, positions in returned.items():
        found = await read_all(log, partition)
        assert [data for _, data in found] == [f"{partition}.{number}".encode() for number in range(40)]
        read = [position for position, _ in found]
        assert read == sorted({*read})
        assert positions in (read, [None] * 40)
        assert await read_all(log, partition, after=read[29]) == found[30:]
        assert await log.find_newest_position(partition) == read[-1]


async def test_large_records_come_one_by_one_and_others_are_refused(make_log: MakeLog) -> None:
    log = await make_log()
    assert log.max_record_bytes == 4 * 2**20
    # Kafka's mock keeps the last 5 MB of a partition.
    size, count = (2 * 2**20, 2) if engine_of(log) == "kafka" else (log.max_record_bytes, 4)
    for number in range(count):
        await log.append(0, bytes([number + 1]) * size, record_id=str(number))
    reader = log.read(0, 0)
    for number in range(count):
        [record] = await reader.fetch(max_bytes=1000, max_wait_s=20.0)
        assert record.data == bytes([number + 1]) * size
    assert record.position == await log.find_newest_position(0)
    with pytest.raises(ValueError, match="larger than 4194304"):
        await log.append(0, bytes(log.max_record_bytes + 1), record_id="large")
    with pytest.raises(ValueError, match="at least one byte"):
        await log.append(0, b"", record_id="empty")


async def test_a_cancelled_fetch_loses_nothing(make_log: MakeLog) -> None:
    log = await make_log()
    for number in range(100):
        await log.append(0, b"%d" % number, record_id=str(number))
    reader = log.read(0, 0)
    found: list[int] = []
    for delay_ms in range(30):
        task = asyncio.create_task(reader.fetch(max_bytes=20, max_wait_s=1.0))
        await asyncio.sleep(delay_ms / 10_000)
        task.cancel()
        with suppress(asyncio.CancelledError):
            found.extend(int(record.data) for record in await task)
    while len(found) < 100 and (records := await reader.fetch(max_bytes=1000, max_wait_s=20.0)):
        found.extend(int(record.data) for record in records)
    found.extend(int(record.data) for record in await reader.fetch(max_bytes=1000, max_wait_s=1.0))
    assert found == list(range(100))


async def test_a_closed_reader_keeps_no_records_and_is_forgotten(make_log: MakeLog) -> None:
    log = await make_log()
    for number in range(20):
        await log.append(0, b"%d" % number, record_id=str(number))
    for _ in range(2):
        reader = log.read(0, 0)
        assert len(await reader.fetch(max_bytes=1, max_wait_s=20.0)) == 1
        await reader.close()
        assert not reader._ready  # type: ignore[attr-defined]
        await reader.close()
    assert not getattr(log, "_readers", None), "a log that is away for long would have thousands"


async def test_a_full_partition_refuses_and_others_have_room(make_log: MakeLog) -> None:
    log = await make_log(max_bytes=2**20)
    stored = 0
    with suppress(LogFullError):
        while stored < 20:
            await log.append(0, bytes(100_000), record_id=str(stored))
            stored += 1
    assert 8 <= stored <= 11
    with pytest.raises(LogFullError):
        await log.append(0, bytes(100_000), record_id=str(stored))
    await log.append(1, b"another partition has room", record_id="x")
    assert len(await read_all(log, 0)) == stored


async def test_small_records_after_large_ones_do_not_make_a_full_partition_look_empty(
    make_log: MakeLog,
) -> None:
    """A writer that has just started does not know how large the records before its own are."""
    first, second = await make_log(max_bytes=2**20), await make_log(max_bytes=2**20)
    for number in range(9):
        await first.append(0, bytes(100_000), record_id=f"large{number}")
    size = (await second.describe()).partitions[0].size
    assert 9 * 100_000 <= size < 2**20
    stored = 0
    with suppress(LogFullError):
        while stored < 5000:
            await second.append(0, bytes(200), record_id=f"small{stored}")
            stored += 1
    assert 0 < stored * 200 <= 2**20 - 9 * 100_000
    assert len(await read_all(first, 0)) == 9 + stored


async def test_the_description_names_nodes_and_positions(make_log: MakeLog) -> None:
    log = await make_log()
    await log.append(1, bytes(5000), record_id="a")

    async def is_in_sync() -> bool:  # followers of NATS report once a second
        return len((await log.describe()).partitions[1].in_sync) == 3

    await until(is_in_sync)
    empty, one, *_ = (await log.describe()).partitions
    assert len(one.replicas) == 3
    assert set(one.replicas) == set(one.in_sync)
    assert one.leader in one.replicas
    newest = await log.find_newest_position(1)
    assert (one.oldest, one.newest) == (1, newest)
    assert 5000 < one.size <= 2 * 4096
    assert (empty.oldest, empty.newest, empty.size) == (0, 0, 0)


@pytest.mark.parametrize("engine", ["jetstream", "rabbitmq", "kafka"])
async def test_without_nodes_the_log_is_unavailable(engine: str) -> None:
    settings = MessageLogSettings.model_validate(
        {"engine": engine, "servers": ["127.0.0.1:1"], "timeout_s": 0.5}
    )
    log = make_message_log(settings)
    with pytest.raises(LogUnavailableError):
        await log.append(0, b"x", record_id="x")
    with pytest.raises(LogUnavailableError):
        await log.open()
    assert not log.connected
    with pytest.raises(LogUnavailableError):
        await log.append(0, b"x", record_id="x")
    await log.close()


@pytest.mark.parametrize("engine", ["jetstream", "rabbitmq", "kafka"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"servers": ["127.0.0.1:1"], "tls": True, "ca_file": "/nonexistent/ca.pem"}, id="no CA"),
        pytest.param({"servers": ["127.0.0.1"]}, id="no port"),
    ],
)
async def test_a_missing_file_or_port_makes_the_log_unavailable(
    engine: str, settings: dict[str, object]
) -> None:
    log = make_message_log(
        MessageLogSettings.model_validate({"engine": engine, "timeout_s": 0.5, **settings})
    )
    with pytest.raises(LogUnavailableError):
        await log.open()
    await log.close()
