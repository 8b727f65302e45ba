"""A box of the fleet: it keeps what it sent until that is named."""

import json
import random

import mqtt5

from bench.fleet_box import FleetBox, FleetCounts


def a_box(counts: FleetCounts) -> FleetBox:
    return FleetBox(7, "secret", ("127.0.0.1", 1), counts, random.Random(1))  # noqa: S311 (a box's values)


def test_it_says_who_it_is_and_what_it_wants_to_hear() -> None:
    box = a_box(FleetCounts())
    connect, _ = mqtt5.read(memoryview(box.connect))
    assert isinstance(connect, mqtt5.ConnectPacket)
    assert (connect.client_id, connect.username, connect.password) == (
        "bench-00007",
        "bench-00007",
        b"secret",
    )
    subscribe, _ = mqtt5.read(memoryview(box.subscribe))
    assert isinstance(subscribe, mqtt5.SubscribePacket)
    assert [wanted.pattern for wanted in subscribe.topic_filters] == ["vigie/v1/bench-00007/ack"]


def test_a_sample_is_kept_until_it_is_named() -> None:
    counts = FleetCounts()
    box = a_box(counts)
    for _ in range(3):
        box.measure()
    box.repeat()
    assert (counts.made, counts.sent) == (3, 0)  # there is no connection
    box.named(json.dumps({"seqs": [1, 1, 9]}).encode())
    box.named(json.dumps({"rejected": [{"seq": 2, "code": "conflict"}], "event_seqs": [3]}).encode())
    assert (counts.named, counts.rejected) == (1, 1)
