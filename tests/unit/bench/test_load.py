"""The benchmark's load: the same for everybody, and what Vigie's own codec takes."""

import json

from app.catalogue.metrics import COLUMNS
from app.ingest.codec.telemetry_codec import decode_http_telemetry, decode_singles
from bench.load import (
    METRICS,
    RANGES,
    MessageLoad,
    box_id,
    flat_message,
    http_body,
    rules,
    topic,
    vigie_message,
)

_START_MS = 1_764_000_000_000
_NOW_US = _START_MS * 1000 + 86_400_000_000
_LOAD = MessageLoad(messages=20_000, boxes=100, start_ms=_START_MS)


def test_each_message_is_one_sample_of_its_own_identity() -> None:
    samples = list(_LOAD.samples())
    assert len(samples) == 20_000
    assert len({(sample.box, sample.time_ms) for sample in samples}) == 20_000
    assert {sample.box for sample in samples} == set(range(100))


def test_the_same_seed_gives_the_same_values() -> None:
    assert list(_LOAD.samples()) == list(_LOAD.samples())


def test_vigies_quick_path_takes_every_message() -> None:
    samples = list(_LOAD.samples())
    rows = decode_singles((vigie_message(sample) for sample in samples), _NOW_US)
    assert None not in rows
    for sample, row in zip(samples, rows, strict=True):
        assert row is not None
        assert (row[0], row[1]) == (sample.time_ms * 1000, sample.seq)
        assert tuple(row[2][COLUMNS.index(name)] for name in METRICS) == sample.values


def test_the_flat_message_has_the_columns_of_the_table() -> None:
    sample = next(_LOAD.samples())
    flat = json.loads(flat_message(sample, {box_id(0): 17}))
    assert list(flat) == ["box_key", "time", "seq", *METRICS]
    assert (flat["box_key"], flat["seq"]) == (17, 0)
    assert tuple(flat[name] for name in METRICS) == sample.values


def test_rules_are_compared_with_all_values_and_fire_rarely() -> None:
    conditions = rules()
    assert len(conditions) == 20
    beyond = 0
    for sample in _LOAD.samples():
        for name, value in zip(METRICS, sample.values, strict=True):
            low, high = RANGES[name]
            beyond += not low - 1 <= value <= high + 1
    assert beyond == 2


def test_the_last_of_each_connection_are_the_last_messages() -> None:
    samples = list(_LOAD.samples())
    assert _LOAD.last_of(4) == [(sample.box, sample.time_ms) for sample in samples[-4:]]


def test_an_http_body_is_what_the_door_takes() -> None:
    samples = [sample for sample in _LOAD.samples() if sample.box == 3]
    box, decoded = decode_http_telemetry(http_body(3, samples), _NOW_US)
    assert box == box_id(3)
    assert len(decoded.samples) == len(samples)
    assert topic(3) == "vigie/v1/bench-00003/telemetry"
