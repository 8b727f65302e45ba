"""What boxes cost a real broker: connections by TLS more than plain ones, accounts a pause."""

from pathlib import Path

import pytest

from bench.box_costs import MESSAGES, measure_accounts, measure_acks, measure_connections, run_broker
from bench.measure import rss

BOXES = 100


async def test_connections_by_tls_cost_more(tmp_path: Path) -> None:
    async with run_broker(tmp_path / "plain") as (broker, _, _):
        plain = await measure_connections(broker, broker.port, None, BOXES)
    async with run_broker(tmp_path / "tls") as (broker, port, trusted):
        tls = await measure_connections(broker, port, trusted, BOXES)
    assert tls.memory_bytes > 2 * max(plain.memory_bytes, 1_000)
    assert tls.connect_us > plain.connect_us > 0
    # The kernel counts CPU in steps of 10 ms.
    assert 0 <= plain.publish_us < 1e6 / BOXES / MESSAGES


async def test_a_larger_accounts_file_takes_memory_and_time(tmp_path: Path) -> None:
    async with run_broker(tmp_path / "broker") as (broker, _, _):
        before = rss(broker.pid)
        found = await measure_accounts(broker, 50_000)
    assert found.file_bytes > 50_000 * 100
    assert found.memory_bytes - before > 50_000 * 100
    assert 0.01 < found.reload_s < 30


async def test_an_ack_message_costs_and_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_broker(tmp_path / "broker") as (broker, _, _):
        found = await measure_acks(broker, 50, 2_000)
    assert found.publisher_us > 1
    assert found.broker_us > 1
    # Fifty are under way at once.
    assert not [record for record in caplog.records if "pending" in record.getMessage()]
