"""What is refused at the doors: what is kept of it, and under which code."""

import base64
import gzip
import json
import random

import cbor2
import pytest

from app.ingest.codec import batch_decoder as sorting
from app.ingest.codec import decoded_batch
from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.codec.decoded_batch import BatchRejection, DecodedBatch
from app.ingest.codec.event_and_status_decoder import decode_reported_config, decode_status
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
