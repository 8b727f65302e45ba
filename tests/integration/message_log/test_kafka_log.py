"""The log in Kafka: what librdkafka's mock of three brokers shows beyond what every engine does."""

import pytest

from app.message_log.message_log import RecordsRemovedError
from tests.integration.message_log.conftest import MakeLog, read_all


async def test_records_that_a_broker_removed_are_never_skipped_silently(make_kafka_log: MakeLog) -> None:
    """The mock keeps the last 5 MB of a partition."""
    log = await make_kafka_log()
    positions = [
        await log.append(0, b"%02d" % number + bytes(2**20), record_id=str(number)) for number in range(10)
    ]
    assert (await log.describe()).partitions[0].oldest > (positions[0] or 0)
    with pytest.raises(RecordsRemovedError) as raised:
        await log.read(0, positions[0] or 0).fetch(max_bytes=1000, max_wait_s=10.0)
    assert raised.value.after == positions[0]
    found = await read_all(log, 0, after=raised.value.oldest - 1)
    assert [int(record.data[:2]) for record in found] == list(range(10 - len(found), 10))
