"""The city's boxes and their streams of messages."""

import json
import time
from itertools import pairwise

import pytest

from simulators.city_command import CityOptions, choose_start
from simulators.field_faults import BoxSample, FaultShares, FaultyBox
from simulators.synthetic_city import CityPace, CityPlan, RateThrottle, encode_message, generate_messages


def test_boxes_take_the_kinds_in_turn_each_at_a_place_of_its_own() -> None:
    members = CityPlan(7).members()
    assert [box.kind for box in members][:4] == ["street", "office", "airport", "street"]
    assert len({box.id for box in members}) == len({(box.longitude, box.latitude) for box in members}) == 7
    assert members == CityPlan(7).members()


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_a_stream_sends_every_sample_once(batch: int) -> None:
    city = CityPlan(1, interval_s=10)
    (box,) = city.members()
    messages = list(
        generate_messages(
            city, box, CityPace(10**15, count=50, batch=batch), FaultyBox(1, box.id, FaultShares())
        )
    )
    readings = [reading for _, message in messages for reading in message]
    assert [reading.seq for reading in readings] == list(range(50))
    assert all(b.time_us - a.time_us == 10_000_000 for a, b in pairwise(readings))
    assert len(messages) == -(-50 // batch)
    assert 0 <= readings[0].time_us - 10**15 < 10_000_000
    assert all(leaves >= message[-1].time_us for leaves, message in messages)


def test_a_message_is_a_sample_or_a_batch() -> None:
    one, two = (
        BoxSample(1, 1_700_000_000_000_000, {"co2": 5.0}),
        BoxSample(2, 1_700_000_000_500_000, {"co2": 6.0}),
    )
    assert json.loads(encode_message([one])) == {
        "seq": 1,
        "time": "2023-11-14T22:13:20Z",
        "values": {"co2": 5.0},
    }
    batch = json.loads(encode_message([one, two]))["samples"]
    assert [sample["time"] for sample in batch] == ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20.500Z"]


def test_a_run_faster_than_time_ends_now() -> None:
    now = 1_700_000_000_000_000

    def job(*, start: int | None = None, speed: float = 1.0, count: int | None = None) -> CityOptions:
        return CityOptions(
            CityPlan(1, interval_s=60), start, speed, count, 1, None, 1, gateway=True, organisation="o"
        )

    assert choose_start(job(), now) == now
    assert choose_start(job(count=10), now) == now
    assert choose_start(job(speed=0, count=10), now) == now - 11 * 60_000_000
    assert choose_start(job(start=5, speed=0, count=10), now) == 5


async def test_the_throttle_keeps_the_rate() -> None:
    throttle = RateThrottle(200)
    started = time.monotonic()
    for _ in range(41):
        await throttle.wait_turn()
    assert 0.19 <= time.monotonic() - started < 10
    free = RateThrottle(None)
    for _ in range(1_000):
        await free.wait_turn()
