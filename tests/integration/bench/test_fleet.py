"""The fleet of the benchmark, a small one: all of it connects, comes back, and loses nothing."""

from bench.fleet import measure
from bench.stack import stack


async def test_a_small_fleet_connects_sends_and_survives_a_crash_of_its_broker() -> None:
    async with stack() as running:
        found = await measure(running, boxes=40, period_s=1.0)
    assert found.made >= 30
    assert found.total >= found.made
    assert (found.stored, found.twice, found.rejected) == (found.total, 0, 0)
    assert found.cold.attempts == 40
    assert found.again.attempts >= 40
    assert 0 < found.cold.half_s <= found.cold.all_s
    assert found.memory.keys() == {"mosquitto before", "mosquitto", "api", "ingest", "deliver", "maintain"}
