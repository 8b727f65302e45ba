"""Events: their shape, and that what sounds like a shot occurs too."""

import json
import random

from app.ingest.codec.event_and_status_decoder import DeviceEvent, decode_event
from simulators.sound_events import GUN_CLASSES, describe_event, make_sound_event

NOW_US = 1_790_000_000_000_000


def repeatable(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - events are to be repeatable, not secret


def test_events_are_what_the_codec_takes() -> None:
    chance = repeatable(1)
    for seq in range(200):
        event = make_sound_event(chance, seq, NOW_US)
        decoded = decode_event(json.dumps(event).encode(), NOW_US)
        assert isinstance(decoded, DeviceEvent), decoded
        assert decoded.type == event["type"]


def test_candidates_are_in_order_and_sum_to_at_most_one() -> None:
    chance = repeatable(2)
    for seq in range(500):
        confidences = [
            float(each["confidence"]) for each in make_sound_event(chance, seq, NOW_US)["candidates"]
        ]
        assert confidences == sorted(confidences, reverse=True)
        assert sum(confidences) <= 1.02


def test_shots_and_look_alikes_both_occur() -> None:
    chance = repeatable(3)
    kinds = [make_sound_event(chance, seq, NOW_US) for seq in range(300)]
    assert {event["type"] for event in kinds} == {"gunshot", "impulse"}
    assert all(
        (event["type"] == "gunshot") == (event["candidates"][0]["class"] in GUN_CLASSES) for event in kinds
    )


def test_a_seed_repeats_and_a_line_describes() -> None:
    one, other = (make_sound_event(repeatable(4), 1, NOW_US) for _ in range(2))
    assert one == other
    assert one["type"] in describe_event(one)
    assert "dB" in describe_event(one)
