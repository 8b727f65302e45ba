import gzip
import json
from collections import Counter
from typing import Any

import cbor2
import pytest

from app.ingest.codec import batch_decoder as intakes
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.decoded_batch import DecodedBatch
from app.platform.kernel.rejection_codes import REJECTION_REASONS

NOW = 1_795_600_000_000_000
GOOD = {"time": NOW // 1000, "values": {"pm2_5": 1.0}}


def sort(
    *messages: tuple[str, Any], retained: tuple[int, ...] = (), poison: tuple[bytes, ...] = ()
) -> DecodedBatch:
    return decode_batch(
        [topic for topic, _ in messages],
        [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in messages],
        retained=retained,
        poison=poison,
        now_us=NOW,
        max_future_us=600_000_000,
    )


def codes(intake: DecodedBatch) -> list[tuple[int, str | None, str]]:
    return [(refusal.origin, refusal.box, refusal.rejection.code) for refusal in intake.rejections]


def test_each_message_goes_where_its_topic_says() -> None:
    event = {"time": NOW // 1000, "type": "gunshot"}
    intake = sort(
        ("vigie/v1/a/telemetry", GOOD),
        ("vigie/v1/b/event", event),
        ("vigie/v1/c/status", {"state": "online"}),
        ("vigie/v1/d/telemetry", {"samples": [GOOD, GOOD]}),
        ("vigie/v1/e/config/reported", {"interval_s": 60}),
    )
    assert intake.configs == [("e", {"interval_s": 60}, 4)]
    assert intake.boxes == ["a", "d", "d"]
    assert intake.origins == [0, 3, 3]
    assert [(box, event.type, origin) for box, event, origin in intake.events] == [("b", "gunshot", 1)]
    assert [(box, status.state, origin) for box, status, origin in intake.statuses] == [("c", "online", 2)]
    assert intake.rejections == []


def test_long_topics_do_not_fill_the_memory_of_topics() -> None:
    for number in range(10):
        topic = f"vigie/v1/{number:060000}/telemetry"
        assert codes(sort((topic, GOOD))) == [(0, None, "topic")]
        assert topic not in intakes._ROUTES
    assert sort(("vigie/v1/short/telemetry", GOOD)).boxes == ["short"]
    assert "vigie/v1/short/telemetry" in intakes._ROUTES


def test_other_topics_and_retained_measurements_are_refused() -> None:
    intake = sort(
        ("vigie/v1/a/telemetry", GOOD),
        ("vigie/v1/a/event", {"time": NOW // 1000, "type": "x"}),
        ("vigie/v1/a/status", {"state": "online"}),
        ("vigie/v1/a/config", {}),
        ("vigie/v1/a/b/telemetry", GOOD),
        ("vigie/v1/a/telemetry/gzip", GOOD),
        ("vigie/v1/a/telemetry/xml", b"<a/>"),
        retained=(0, 1, 2, 5),
    )
    assert len(intake.statuses) == 1
    assert codes(intake) == [
        (0, "a", "retained_message"),
        (1, "a", "retained_message"),
        (3, None, "topic"),
        (4, None, "topic"),
        (5, "a", "retained_message"),
        (6, "a", "topic"),
    ]


def test_messages_in_other_formats_go_through_their_adapter() -> None:
    batch = {"samples": [GOOD, {**GOOD, "values": {"pm2_5": -1}}]}
    bad = [{"n": "warp", "v": 1}]
    intake = sort(
        ("vigie/v1/a/telemetry/gzip", gzip.compress(json.dumps(batch).encode())),
        ("vigie/v1/b/telemetry/cbor", cbor2.dumps(GOOD)),
        ("vigie/v1/c/telemetry/senml", [{"n": "pm2_5", "t": NOW / 1e6, "v": 1}]),
        ("vigie/v1/d/telemetry/senml", bad),
        ("vigie/v1/e/telemetry/cbor", b"\xa1"),
        ("application/1/device/0f/event/up", {"time": GOOD["time"], "object": {"pm2_5": 1}, "fCnt": 3}),
        ("vigie/v1/f/telemetry", GOOD),
    )
    # Plain telemetry first: it is decoded apart.
    assert sorted(zip(intake.boxes, intake.origins, strict=True)) == [
        *(("0f", 5), ("a", 0), ("b", 1), ("c", 2), ("f", 6)),
    ]
    assert len({row[2] for row in intake.rows}) == 1
    assert codes(intake) == [
        (0, "a", "value_out_of_bounds"),
        (3, "d", "unknown_metric"),
        (4, "e", "invalid_cbor"),
    ]
    assert json.loads(intake.rejections[0].part) == batch["samples"][1]
    assert (intake.rejections[2].part, intake.rejections[2].size) == (b"", 1), "what is no text is not kept"


def test_what_was_refused_of_another_format_can_be_sent_again_on_its_topic() -> None:
    sample = {"time": NOW // 1000, "values": {"warp": 1}}
    topics = [f"vigie/v1/a/telemetry/{name}" for name in ("cbor", "gzip", "senml")]
    payloads = [
        cbor2.dumps({"samples": [GOOD, sample]}),
        gzip.compress(json.dumps({"samples": [GOOD, sample]}).encode()),
        [{"n": "pm1", "v": 1}, {"n": "warp", "v": 1}],
    ]
    refused = sort(*zip(topics, payloads, strict=True)).rejections
    again = sort(*((topics[each.origin], each.part.replace(b"warp", b"pm10")) for each in refused))
    assert (again.boxes, again.rejections) == (["a"] * 3, [])
    assert {row[0] for row in again.rows} == {NOW}


def test_a_batch_is_cut_where_it_holds_too_much_once_inflated() -> None:
    body = json.dumps({"samples": [{"time": NOW // 1000, "values": {"pm2_5": 1.0}}]})
    full = gzip.compress((body + " " * 900_000).encode())
    plain = ("vigie/v1/b/telemetry", GOOD)
    messages = [plain, *([("vigie/v1/a/telemetry/gzip", full)] * 25), plain]
    found = []
    while messages:
        intake = sort(*messages, poison=(b"\x31",))
        assert intake.message_count <= 11
        found += intake.boxes
        messages = messages[intake.message_count :]
        # What comes with the last of the messages does not come before.
        assert [refusal.rejection.code for refusal in intake.rejections] == ["malformed_packet"][
            len(messages) :
        ]
    assert Counter(found) == {"a": 25, "b": 2}


def sort_in_parts(*messages: tuple[str, Any]) -> list[DecodedBatch]:
    parts = []
    left = list(messages)
    while left:
        parts.append(sort(*left))
        left = left[parts[-1].message_count :]
    return parts


@pytest.mark.parametrize(
    ("kind", "payload", "size"),
    [
        ("telemetry", {"samples": [GOOD] * 1_000}, 50_000),
        ("telemetry", b'{"time": 1, "x": "' + b" " * 100_000, 100_000),
        ("telemetry/cbor", b"\x9a\x00\x01\x80\x00" + b"\xa0" * 0x1_8000, 98_000),
        ("telemetry/cbor", cbor2.dumps({"samples": [{}] * 5_000}), 5_000 * 256),
        ("telemetry", {"samples": [{}] * 5_000}, 5_000 * 256),
        ("event", {"time": 1, "type": "x" * 90_000}, 90_000),
        ("telemetry/xml", b"<a/>" * 25_000, 100_000),
    ],
)
def test_a_batch_is_cut_where_its_decoding_is_slow(kind: str, payload: object, size: int) -> None:
    plain = [(f"vigie/v1/plain-{number}/telemetry", GOOD) for number in range(1_500)]
    slow = (f"vigie/v1/slow/{kind}", payload)
    messages = [*plain[:700], *[slow] * 40, *plain[700:], *[slow] * 3]
    parts = sort_in_parts(*messages)
    assert len(parts) >= 43 * size // (2 * 2**20)
    for part in parts:
        taken = [*part.origins, *(each.origin for each in part.rejections)]
        assert taken == sorted(part.origins) + sorted(each.origin for each in part.rejections)
        assert max(taken) < part.message_count
        assert (part.message_count - len(set(part.boxes) - {"slow"})) * size <= 2**20 + size
    assert [box for part in parts for box in part.boxes if box != "slow"] == [
        topic.split("/")[2] for topic, _ in plain
    ]
    assert sum(len(part.rows) + len(part.rejections) for part in parts) - 1_500 == 43 * len(
        sort(slow).rows + sort(slow).rejections
    )


def test_a_batch_shares_what_may_be_scanned_of_its_cbor() -> None:
    hollow = b"\x9a\x00\x02\x00\x00" + b"\xa0" * 0x2_0000
    # As text, this could be stored.
    letters = cbor2.dumps("x" * 100)
    intake = sort(*[("vigie/v1/a/telemetry/cbor", each) for each in (letters, hollow, letters)])
    assert [each.rejection.code for each in intake.rejections] == [
        *("wrong_type", "too_many_samples", "wrong_type"),
    ]
    assert [(each.part, each.size) for each in intake.rejections] == [
        *((letters, None), (b"", len(hollow)), (b"", len(letters))),
    ]


def test_of_a_batch_only_the_bad_sample_is_kept() -> None:
    bad = {"time": NOW // 1000, "values": {"pm2_5": -1}}
    intake = sort(("vigie/v1/a/telemetry", {"samples": [GOOD, bad, GOOD]}))
    assert len(intake.rows) == 2
    (refusal,) = intake.rejections
    assert (refusal.rejection.code, refusal.rejection.index) == ("value_out_of_bounds", 1)
    assert json.loads(refusal.part) == bad


def test_poison_packets_are_refused_as_messages_of_their_own() -> None:
    intake = sort(("vigie/v1/a/telemetry", GOOD), poison=(b"\x30\x00", b"\x31"))
    assert codes(intake) == [(1, None, "malformed_packet"), (2, None, "malformed_packet")]
    assert intake.messages[2].payload == b"\x31"


def test_the_parts_of_a_batch_are_the_whole_in_its_order() -> None:
    event = {"time": NOW // 1000, "type": "gunshot"}
    intake = sort(
        ("vigie/v1/a/telemetry", {"samples": [GOOD, GOOD]}),
        ("vigie/v1/b/telemetry", b"{"),
        ("vigie/v1/c/event", event),
        ("vigie/v1/d/status", {"state": "offline"}),
        ("vigie/v1/d/config/reported", {"leds": False}),
        ("vigie/v1/e/telemetry", GOOD),
    )
    assert len(intake) == 7
    for middle in range(8):
        left, right = intake.select(range(middle)), intake.select(range(middle, 7))
        assert (len(left), len(right)) == (middle, 7 - middle)
        for name in ("boxes", "rows", "origins", "events", "statuses", "configs", "rejections"):
            assert getattr(left, name) + getattr(right, name) == getattr(intake, name)


def test_a_single_thing_that_is_refused_keeps_its_box_its_seq_and_its_payload() -> None:
    sample = GOOD | {"seq": 9}
    event = {"time": NOW // 1000, "type": "gunshot", "seq": 7}
    intake = sort(
        ("vigie/v1/a/telemetry", sample),
        ("vigie/v1/b/event", event),
        ("vigie/v1/c/status", {"state": "offline"}),
        ("vigie/v1/d/config/reported", {"leds": False}),
        ("vigie/v1/e/telemetry", b"{"),
    )
    refusals = [
        intake.select(range(index, index + 1)).as_storage_refusal("no").rejections for index in range(5)
    ]
    assert [(refusal.origin, refusal.box, refusal.rejection.seq) for (refusal,) in refusals] == [
        (0, "a", 9),
        (1, "b", 7),
        (2, "c", None),
        (3, "d", None),
        (4, "e", None),
    ]
    parts = [refusal.part for (refusal,) in refusals]
    assert json.loads(parts[0])["values"] == {"pm2_5": 1.0}
    assert parts[1:] == [sent.payload for sent in intake.messages[1:]]


def test_every_code_given_here_is_in_the_table() -> None:
    assert {"topic", "retained_message", "malformed_packet", "storage_refused"} <= REJECTION_REASONS.keys()


def test_a_fault_of_our_own_refuses_one_message_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(payload: bytes, *_: object) -> None:
        raise RuntimeError(payload)

    monkeypatch.setattr("app.ingest.codec.batch_decoder.decode_status", fail)
    intake = sort(("vigie/v1/a/telemetry", GOOD), ("vigie/v1/b/status", {"state": "online"}))
    assert intake.boxes == ["a"]
    assert codes(intake) == [(1, "b", "undecodable")]


def test_a_fault_in_the_quick_path_leaves_all_to_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.ingest.codec.batch_decoder.decode_singles", fail)
    intake = sort(("vigie/v1/a/telemetry", GOOD), ("vigie/v1/b/telemetry", b"{"))
    assert intake.boxes == ["a"]
    assert codes(intake) == [(1, "b", "invalid_json")]
