"""Each format gives back what was encoded, as another program decodes it."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cramjam import snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as some

from app.catalogue.metrics import CATALOGUE, COLUMNS, METRICS_BY_NAME
from app.ingest.adapters.adapter_types import DecodeContext
from app.ingest.adapters.senml_adapter import decode_pack
from app.measurement_stream.formats import (
    cloudevents,
    csv_lines,
    influx_lines,
    json_items,
    remote_write,
    senml,
)
from app.measurement_stream.formats.format_registry import FORMATS
from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import EARLIEST_US, format_us, from_datetime

ORGANISATION, SITE, SUBSCRIPTION = UUID(int=1), UUID(int=2), UUID(int=3)
LATEST_US = EARLIEST_US + 10**15
names = some.text("abcXYZ019_-", min_size=1, max_size=8)


@some.composite
def samples(draw: some.DrawFn) -> Item:
    chosen = draw(some.lists(some.sampled_from(CATALOGUE), min_size=1, max_size=5, unique=True))
    values = {
        metric.name: draw(some.floats(metric.minimum, metric.maximum, width=32))
        for metric in sorted(chosen, key=CATALOGUE.index)
    }
    return Item(
        position=draw(some.integers(1, 2**53)),
        index=draw(some.integers(0, 10_000)),
        kind="sample",
        organisation_id=ORGANISATION,
        site_id=SITE,
        box=draw(names),
        time_us=draw(some.integers(EARLIEST_US, LATEST_US)),
        seq=draw(some.none() | some.integers(0, 2**53)),
        values=values,
        late=tuple(name for name in values if draw(some.booleans())),
    )


many = some.lists(samples(), min_size=1, max_size=8, unique_by=lambda item: (item.box, item.time_us))


def batch_of(items: Sequence[Item], metrics: tuple[str, ...] | None = None) -> MeasurementBatch:
    return MeasurementBatch.of(SUBSCRIPTION, ORGANISATION, items, metrics)


def an_event(detail: dict[str, Any]) -> Item:
    return Item(7, 0, "event", ORGANISATION, SITE, "box-1", EARLIEST_US, 3, {}, (), detail)


@given(many)
def test_json_has_each_item_as_it_is(items: list[Item]) -> None:
    batch = batch_of(items)
    told = json.loads(json_items.encode_batch(batch))
    assert told["id"] == str(batch.id)
    for item, shown in zip(items, told["items"], strict=True):
        assert json.loads(json_items.encode_item(item)) == shown
        assert shown["id"] == f"{item.position}-{item.index}"
        assert (shown["box"], shown["kind"], shown["site_id"]) == (item.box, "sample", str(SITE))
        assert from_datetime(datetime.fromisoformat(shown["time"])) == item.time_us
        assert shown["values"] == item.values
        assert shown.get("seq") == item.seq
        assert tuple(shown.get("late", ())) == item.late


def test_json_has_the_details_of_an_event() -> None:
    told = json.loads(json_items.encode_item(an_event({"type": "gunshot", "candidates": [{"p": 0.9}]})))
    assert told["kind"] == "event"
    assert told["values"] == {}
    assert told["detail"] == {"type": "gunshot", "candidates": [{"p": 0.9}]}


@given(many)
def test_cloudevents_of_a_batch_are_read_by_the_library(items: list[Item]) -> None:
    parts = json.loads(cloudevents.encode_batch(batch_of(items)))
    for item, part in zip(items, parts, strict=True):
        assert json.loads(cloudevents.encode_item(item)) == part
        event = from_http_event(
            HTTPMessage({"content-type": cloudevents.MEDIA_TYPE}, json.dumps(part).encode())
        )
        assert event.get_id() == item.id
        assert event.get_type() == "vigie.measurement.sample"
        assert event.get_subject() == item.box
        assert event.get_source() == f"/organisations/{ORGANISATION}/boxes/{item.box}"
        assert from_datetime(event.get_time()) == item.time_us  # type: ignore[arg-type]
        assert event.get_data() == json.loads(json_items.encode_item(item))


@given(samples(), some.uuids())
def test_a_cloudevent_is_the_same_after_its_box_moved(item: Item, site: UUID) -> None:
    """Receivers recognise it by its source and id."""
    before, after = (
        json.loads(cloudevents.encode_item(each)) for each in (item, replace(item, site_id=site))
    )
    assert (before["source"], before["id"]) == (after["source"], after["id"])


@given(many)
def test_senml_is_what_the_ingest_of_senml_reads(items: list[Item]) -> None:
    known = DecodeContext(None, LATEST_US, 0, 2**24)
    adapted = decode_pack(senml.encode_batch(batch_of(items)), known)
    assert adapted.refusals == []
    read = {(box, row[0]): row[2] for box, row in adapted.samples}
    assert len(read) == len(items)
    for item in items:
        values = {
            name: value
            for name, value in zip(COLUMNS, read[item.box, item.time_us], strict=True)
            if value is not None
        }
        assert values == pytest.approx(dict(item.values), rel=1e-9, abs=1e-6)


def test_senml_names_units_where_it_has_them() -> None:
    values = {"co": 0.4, "h2s": 12.0, "temperature": 21.5, "battery": 80.0}
    item = Item(1, 0, "sample", ORGANISATION, SITE, "b", EARLIEST_US, None, values)
    told = json.loads(senml.encode_item(item))
    assert told[0] == {"bn": "vigie:b:", "bt": EARLIEST_US / 1e6, "n": "co", "u": "ug/m3", "v": 400.0}
    assert [(each["n"], each["u"], each["v"]) for each in told[1:]] == [
        ("h2s", "ppm", 0.012),
        ("temperature", "Cel", 21.5),
        ("battery", "%EL", 80.0),
    ]


@given(many, some.booleans())
def test_csv_is_read_back(items: list[Item], chosen: bool) -> None:  # noqa: FBT001 (hypothesis gives it)
    metrics = ("laeq", "pm2_5") if chosen else None
    text = csv_lines.encode_batch(batch_of(items, metrics)).decode()
    assert text.count("\r\n") == text.count("\n") == len(items) + 1
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == ["box", "site", "time", *(metrics or COLUMNS)]
    for item, row in zip(items, rows, strict=True):
        assert (row.pop("box"), row.pop("site")) == (item.box, str(SITE))
        assert from_datetime(datetime.fromisoformat(row.pop("time"))) == item.time_us
        read = {name: float(value) for name, value in row.items() if value}
        assert read == {
            name: value for name, value in item.values.items() if metrics is None or name in metrics
        }


LINE = re.compile(r"(\S+) (\S+) (\d+)")


@given(many)
def test_lines_have_every_value_and_the_time_in_nanoseconds(items: list[Item]) -> None:
    lines = influx_lines.encode_batch(batch_of(items), "air quality,1").decode().splitlines()
    for item, line in zip(items, lines, strict=True):
        found = LINE.fullmatch(line.replace(r"\ ", "_").replace(r"\,", "_"))
        assert found is not None
        series, fields, time_ns = found.groups()
        assert series == f"air_quality_1,box={item.box},organisation={ORGANISATION},site={SITE}"
        assert int(time_ns) == item.time_us * 1000
        read = {name: float(value) for name, value in (each.split("=") for each in fields.split(","))}
        assert read == item.values


def write_request_type() -> Any:  # noqa: ANN401 (a class that protobuf makes)
    """The messages of remote write, as its specification has them, for protobuf's own decoder."""
    fields = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")

    def message(name: str, *members: tuple[str, int, int, bool, str]) -> None:
        made = file.message_type.add(name=name)
        for number, (member, type_, _, repeated, kind) in enumerate(members, 1):
            made.field.add(
                name=member,
                number=number,
                type=type_,
                label=fields.LABEL_REPEATED if repeated else fields.LABEL_OPTIONAL,
                type_name=kind or None,
            )

    text, double, integer, nested = (
        fields.TYPE_STRING,
        fields.TYPE_DOUBLE,
        fields.TYPE_INT64,
        fields.TYPE_MESSAGE,
    )
    message("Label", ("name", text, 1, False, ""), ("value", text, 2, False, ""))
    message("Sample", ("value", double, 1, False, ""), ("timestamp", integer, 2, False, ""))
    message(
        "TimeSeries",
        ("labels", nested, 1, True, ".prometheus.Label"),
        ("samples", nested, 2, True, ".prometheus.Sample"),
    )
    message("WriteRequest", ("timeseries", nested, 1, True, ".prometheus.TimeSeries"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


WRITE_REQUEST = write_request_type()


@given(many)
def test_remote_write_has_the_latest_value_of_each_series(items: list[Item]) -> None:
    latest: dict[tuple[str, str], tuple[int, float]] = {}
    for item in items:
        for metric, value in item.values.items():
            if metric not in item.late:
                known = latest.get((item.box, metric), (0, 0.0))
                latest[item.box, metric] = max(known, (item.time_us, value), key=lambda each: each[0])
    body = remote_write.encode_batch(batch_of(items))
    if not latest:
        assert body == b""
        return
    request = WRITE_REQUEST.FromString(bytes(snappy.decompress_raw(body)))
    read = {}
    for series in request.timeseries:
        labels = {label.name: label.value for label in series.labels}
        assert list(labels) == sorted(labels)
        assert labels.pop("organisation") == str(ORGANISATION)
        assert labels.pop("site") == str(SITE)
        [sample] = series.samples
        read[labels["box"], labels["__name__"].removeprefix("vigie_")] = (sample.timestamp, sample.value)
    assert read == {key: (time_us // 1000, value) for key, (time_us, value) in latest.items()}


def test_formats_of_numbers_say_that_they_express_samples_only() -> None:
    assert {name for name, each in FORMATS.items() if each.kinds == ("sample",)} == {
        *("senml", "csv", "influx", "ngsi-ld")
    }
    assert all(METRICS_BY_NAME[name] for name in COLUMNS)
    assert format_us(EARLIEST_US) in json_items.encode_item(an_event({})).decode()


@given(many)
def test_a_batch_has_the_same_id_again(items: list[Item]) -> None:
    batch = batch_of(items)
    assert batch_of(items).id == batch.id
    assert MeasurementBatch.of(UUID(int=9), ORGANISATION, items).id != batch.id
