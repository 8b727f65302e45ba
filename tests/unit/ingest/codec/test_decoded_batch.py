"""What is refused at the doors: what is kept of it, and under which code."""

import base64
import gzip
import json
import random
from uuid import UUID

import cbor2
import pytest

from app.ingest.codec import batch_decoder as sorting
from app.ingest.codec import decoded_batch
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.decoded_batch import BatchRejection, DecodedBatch, ReceivedMessage, join_calls
from app.ingest.codec.event_and_status_decoder import DeviceEvent, decode_reported_config, decode_status
from app.platform.kernel.rejection_codes import InputRejection
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope
from app.platform.observability.metrics_and_logs import list_error_frames, redact_error

NOW = 1_795_514_400_000_000
BYTES = random.Random(8).randbytes(600)  # noqa: S311 (the same in each run)
BASE64 = base64.b64encode(BYTES).decode()
TIME = "2026-11-24T10:00:00Z"


def sort(*messages: tuple[str, bytes]) -> DecodedBatch:
    topics, payloads = zip(*messages, strict=True)
    return decode_batch(topics, payloads, now_us=NOW, max_future_us=600_000_000)


def one(topic: str, payload: bytes) -> BatchRejection:
    (refusal,) = sort((topic, payload)).rejections
    return refusal


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("vigie/v1/a/telemetry", {"time": TIME, "values": {"pm1": 1}, "image": "x"}, "forbidden_content"),
        ("vigie/v1/a/telemetry", {"time": TIME, "values": {"face_id": 1}}, "forbidden_content"),
        ("vigie/v1/a/telemetry", {"time": TIME, "values": {"pm1": BASE64}}, "forbidden_content"),
        ("vigie/v1/a/telemetry", {"time": TIME, "values": {"pm1": [1] * 65}}, "forbidden_content"),
        ("vigie/v1/a/event", {"time": TIME, "type": "gunshot", "camera_id": 7}, "camera_coupling"),
        ("vigie/v1/a/event", {"time": TIME, "type": "licence_plate"}, "forbidden_content"),
        ("vigie/v1/a/status", {"state": "online", "firmware": "x", "ssid": "y"}, "forbidden_content"),
        ("vigie/v1/a/config/reported", {"ptz": {"preset": 3}}, "camera_coupling"),
        ("vigie/v1/a/telemetry/senml", [{"n": "pm2_5", "vd": BASE64}], "forbidden_content"),
        ("vigie/v1/a/telemetry/senml", [{"n": "plate", "v": 1}], "forbidden_content"),
        (
            "application/1/device/a/event/up",
            {"time": TIME, "data": BASE64, "object": {"x": 1}},
            "forbidden_content",
        ),
        ("vigie/v1/a/camera", {"on": True}, "camera_coupling"),
        ("vigie/v1/a/telemetry/jpeg", {"x": 1}, "forbidden_content"),
    ],
)
def test_what_must_never_enter_is_kept_nowhere(topic: str, payload: object, code: str) -> None:
    refusal = one(topic, json.dumps(payload).encode())
    assert (refusal.rejection.code, refusal.part, refusal.size) == (code, b"", None)


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        (
            "vigie/v1/a/telemetry/cbor",
            {"time": TIME, "values": {"pm1": b"\xff\xd8\xff\xe0"}},
            "forbidden_content",
        ),
        ("vigie/v1/a/telemetry/cbor", {"time": TIME, "values": {"pm1": cbor2.CBORTag(85, bytes(256))}}, None),
        ("vigie/v1/a/telemetry/cbor", {"time": TIME, "values": {"pm1": 1}, "x": BASE64}, "forbidden_content"),
        ("vigie/v1/a/telemetry/cbor", {"time": TIME, "values": {"pm1": 1}, "kamera": 1}, "camera_coupling"),
        (
            "vigie/v1/a/telemetry/cbor",
            {"samples": [{"time": TIME, "values": {"gait": 1}}]},
            "forbidden_content",
        ),
    ],
)
def test_cbor_is_examined_as_it_is_read(topic: str, payload: object, code: str | None) -> None:
    refusal = one(topic, cbor2.dumps(payload))
    assert (refusal.rejection.code, refusal.part) == (code or "forbidden_content", b"")


def test_gzip_is_examined_as_it_is_inflated_and_kept_as_text() -> None:
    bad = {"time": TIME, "values": {"voice": 1}}
    assert one("vigie/v1/a/telemetry/gzip", gzip.compress(json.dumps(bad).encode())).part == b""
    plain = json.dumps({"time": TIME, "values": {"warp": 1}}).encode()
    refusal = one("vigie/v1/a/telemetry/gzip", gzip.compress(plain))
    assert (refusal.rejection.code, refusal.part) == ("unknown_metric", plain)
    undeclared = one("vigie/v1/a/telemetry", gzip.compress(json.dumps(bad).encode()))
    assert undeclared.rejection.code == "forbidden_content"


def test_media_in_place_of_a_message() -> None:
    for kind in ("telemetry", "event", "status", "config/reported", "telemetry/cbor", "telemetry/gzip"):
        refusal = one(f"vigie/v1/a/{kind}", b"\x89PNG\r\n\x1a\n" + BYTES)
        assert (refusal.rejection.code, refusal.part) == ("forbidden_content", b"")


def test_what_cannot_be_read_is_counted_with_its_size() -> None:
    refusal = one("vigie/v1/a/telemetry", b'{"time": "\xff"}')
    assert (refusal.rejection.code, refusal.part, refusal.size) == ("invalid_encoding", b"", 13)


def test_a_run_cut_over_the_samples_of_a_batch_is_found() -> None:
    samples = [
        {"time": TIME, "values": {"pm1": 1}, "note": BASE64[at : at + 60]} for at in range(0, len(BASE64), 60)
    ]
    intake = sort(("vigie/v1/a/telemetry", json.dumps({"samples": samples}).encode()))
    assert {refusal.rejection.code for refusal in intake.rejections} == {"forbidden_content"}
    assert all(refusal.part == b"" for refusal in intake.rejections)


def test_texts_that_are_taken_are_examined_too() -> None:
    pieces = [BASE64[at : at + 40] for at in range(0, 640, 40)]
    for candidates in (
        [{"class": each, "confidence": 0.1} for each in pieces],
        [{"class": "face", "confidence": 0.1}],
        [{"class": "AB-123-CD", "confidence": 0.1}],
    ):
        event = {"time": TIME, "type": "gunshot", "candidates": candidates}
        refusal = one("vigie/v1/a/event", json.dumps(event).encode())
        assert (refusal.rejection.code, refusal.part) == ("forbidden_content", b"")
    status = {"state": "online", "firmware": base64.b64encode(b"\xff\xd8\xff\xe0" + BYTES[:40]).decode()}
    assert getattr(decode_status(json.dumps(status).encode()), "code", None) == "forbidden_content"
    reported = {"interval_s": 60, "note": BASE64}
    assert getattr(decode_reported_config(json.dumps(reported).encode()), "code", None) == "forbidden_content"


def test_details_name_nothing_that_was_sent() -> None:
    for values in ({"plate_AB123CD": 1}, {"pm1": "plate AB123CD"}, {"pm1": 1, "warp": "x"}):
        refusal = one("vigie/v1/a/telemetry", json.dumps({"time": TIME, "values": values}).encode())
        assert "123" not in refusal.rejection.detail


def test_no_more_of_a_batch_is_examined_than_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_batch, "EXAMINED_BYTES", 10)
    plain = json.dumps({"time": TIME, "values": {"warp": 1}}).encode()
    first, second = sort(*[("vigie/v1/a/telemetry", plain)] * 2).rejections
    assert (first.part, first.size) == (plain, None)
    assert (second.rejection.code, second.part, second.size) == ("unknown_metric", b"", len(plain))


def test_the_log_of_a_failure_has_no_word_of_the_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(payload: bytes) -> None:
        raise ValueError(payload.decode())

    monkeypatch.setattr(sorting, "decode_status", fails)
    refusal = one("vigie/v1/canary-box/status", b'{"state": "canary"}')
    assert refusal.rejection.code == "undecodable"
    printed = capsys.readouterr().out
    assert "message_not_sorted" in printed
    assert "canary" not in printed


def test_errors_are_told_without_their_words() -> None:
    with pytest.raises(ValueError, match="canary") as failed:
        int("canary")
    assert redact_error(failed.value) == "ValueError"
    assert "canary" not in str(list_error_frames(failed.value))
    assert list_error_frames(failed.value)[-1].endswith("test_errors_are_told_without_their_words")


def call(box: str, *seqs: int, organisation: int = 1, events: int = 0, bad: int = 0) -> DecodedBatch:
    """A call of HTTP ingest: a message of samples, or one for each event, with refusals of the last one."""
    messages = [ReceivedMessage(None, box.encode())] * max(1, events)
    made = DecodedBatch(
        "http",
        messages,
        boxes=[box] * len(seqs),
        rows=[(seq, seq, ()) for seq in seqs],
        origins=[0] * len(seqs),
        positions=list(range(len(seqs))),
        organisation_id=UUID(int=organisation),
        tenant_scope=TenantScope.of([UUID(int=organisation)]),
        has_event_per_message=bool(events),
    )
    made.events = [(box, DeviceEvent(origin, None, "tamper"), origin) for origin in range(events)]
    for _ in range(bad):
        made.refuse(len(messages) - 1, box, InputRejection("wrong_type", "No."), b"1")
    return made


def test_joined_calls_keep_what_is_theirs() -> None:
    calls = [call("a", 1, 2, bad=1), call("b", organisation=2, events=3), call("c", 3, organisation=3)]
    joined = join_calls(calls)
    assert [joined.find_call(origin) for origin in range(5)] == [calls[0], *[calls[1]] * 3, calls[2]]
    assert (joined.boxes, joined.origins, joined.positions) == (["a", "a", "c"], [0, 0, 4], [0, 1, 0])
    assert [(box, origin) for box, _, origin in joined.events] == [("b", 1), ("b", 2), ("b", 3)]
    assert [joined.find_event_position(origin) for origin in range(5)] == [None, 0, 1, 2, None]
    assert [each.origin for each in joined.rejections] == [0]
    assert len(joined) == sum(map(len, calls))


def test_joined_calls_write_to_no_box_but_those_of_their_own_caller() -> None:
    joined = join_calls([call("a", 1), call("b", 2, organisation=2)])
    assert joined.tenant_scope == EMPTY_SCOPE
    assert joined.organisation_id is None


def test_one_call_stays_what_it_is() -> None:
    alone = call("a", 1, 2)
    assert join_calls([alone]) is alone
    assert alone.find_call(0) is alone
    assert alone.list_call_ends() == []


def test_joined_calls_are_split_between_calls() -> None:
    joined = join_calls([call("a", 1, 2, bad=1), call("none"), call("b", events=2), call("c", 3)])
    assert joined.list_call_ends() == [3, 5]
    parts = joined.split_calls()
    assert [(number, len(part)) for number, part in parts] == [(0, 3), (2, 2), (3, 1)]
    rest = joined.select(range(1, len(joined)))
    assert [(number, len(part)) for number, part in rest.split_calls()] == [(0, 2), (2, 2), (3, 1)]
    assert join_calls([call("none"), call("none")]).split_calls() == []
