"""The benchmark of deliveries, on few of them: all of them are counted, and none is missing."""

import pytest

from bench.deliveries import measure_delivery_rates, measure_endpoint_delays
from bench.stack import stack

pytestmark = pytest.mark.usefixtures("shared_services")


async def test_each_way_delivers_all_and_an_endpoint_is_watched_beside_others() -> None:
    async with stack() as running:
        sent = await measure_delivery_rates(running, 300)
        beside_one = await measure_endpoint_delays(
            running, others="one hanging endpoint", hanging=1, answering=0, seconds=1
        )
    assert [each.letter for each in sent] == ["g", "h", "i"]
    assert {(each.lost, each.twice) for each in sent} == {(0, 0)}
    assert all(each.rate > 0 for each in sent)
    assert len(beside_one.delays_ms) == 100
    assert min(beside_one.delays_ms) > 0
