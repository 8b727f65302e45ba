"""gzip: bounded, one member, and nothing that it is not."""

import gzip
import json
import tracemalloc
import zlib

import pytest

from app.catalogue.metrics import CATALOGUE
from app.ingest.adapters.adapter_registry import decode_gzip
from app.ingest.codec.reference_telemetry_decoder import MAX_ITEMS, MAX_SAMPLES, decode_exact
from app.platform.kernel.bounded_gzip import decompress_gzip
from app.platform.kernel.rejection_codes import RejectedError
from tests.unit.ingest.adapters.arrivals import NOW, arrival, code_of, refusals, samples

GOOD = {"seq": 7, "time": 1_795_514_400_000, "values": {"co2": 612}}
TAKEN = {"box": "box-0001", "time": "2026-11-24T10:00:00Z", "seq": 7, "values": {"co2": 612.0}}
BAD = GOOD | {"values": {"co2": -1}}


def test_a_sample_and_a_batch_are_taken() -> None:
    assert samples(decode_gzip(gzip.compress(json.dumps(GOOD).encode()), arrival())) == [TAKEN]
    batch = json.dumps({"samples": [GOOD, BAD, GOOD]}).encode()
    adapted = decode_gzip(gzip.compress(batch), arrival())
    assert samples(adapted) == [TAKEN, TAKEN]
    assert refusals(adapted) == [(1, "box-0001", "value_out_of_bounds")]
    assert json.loads(adapted.refusals[0].part or b"") == BAD
    assert adapted.inflated == len(batch)


def test_what_is_not_compressed_is_taken_as_it_is() -> None:
    assert samples(decode_gzip(json.dumps(GOOD).encode(), arrival())) == [TAKEN]


def packed(body: bytes) -> bytes:
    """Without the time of day, which would be in the names of the tests: two processes must agree on them."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "empty_body"),
        (packed(b""), "empty_body"),
        (packed(b"{"), "invalid_json"),
        (packed(b'{"a": NaN}'), "invalid_json"),
        (packed(b"{}")[:-1], "invalid_gzip"),
        (packed(b"{}")[:10], "invalid_gzip"),
        (packed(b"{}") + b"x", "invalid_gzip"),
        (packed(b"{}") * 2, "invalid_gzip"),
        (packed(b"{}")[:-5] + b"\0" * 5, "invalid_gzip"),
        (b"\x1f\x8b" + b"\xff" * 40, "invalid_gzip"),
        (packed(b"0" * 2**20 + b"0"), "body_too_large"),
        (packed(packed(b"{}")), "unsupported_encoding"),
        (zlib.compress(b"{}"), "invalid_encoding"),
    ],
)
def test_each_bad_one_has_its_code(payload: bytes, code: str) -> None:
    assert code_of(decode_gzip, payload, arrival()) == code


def test_a_bomb_takes_no_more_memory_than_is_allowed() -> None:
    compressor = zlib.compressobj(9, wbits=31)
    bomb = b"".join(compressor.compress(bytes(2**20)) for _ in range(64)) + compressor.flush()
    tracemalloc.start()
    with pytest.raises(RejectedError, match="body_too_large"):
        decompress_gzip(bomb, 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_kilobyte_of_countless_values_is_not_read() -> None:
    for filling in (b"{}", b"[]", b"0"):
        message = b'{"samples":[' + b",".join([filling] * (MAX_ITEMS + 1)) + b"]}"
        (refusal,) = decode_gzip(gzip.compress(message), arrival()).refusals
        assert refusal.rejection.code == "too_many_samples"
        assert str(MAX_ITEMS) in refusal.rejection.detail


def test_the_fullest_message_has_not_too_many_values() -> None:
    values = {metric.name: metric.minimum for metric in CATALOGUE}
    batch = {"samples": [{"seq": n, "time": GOOD["time"], "values": values} for n in range(MAX_SAMPLES)]}
    payload = json.dumps(batch).encode()
    assert len(decode_exact(payload, NOW, 0).samples) == MAX_SAMPLES
    assert 2 * payload.count(b",") < MAX_ITEMS


def test_without_a_box_there_is_nobody_to_take_it_for() -> None:
    assert code_of(decode_gzip, gzip.compress(b"{}"), arrival(None)) == "missing_field"
