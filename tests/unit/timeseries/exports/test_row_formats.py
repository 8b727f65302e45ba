"""What formats make of copied rows, and of rows in memory: the same bytes."""

import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import CATALOGUE
from app.timeseries.exports.binary_rows import decode_rows
from app.timeseries.exports.columnar_format import ColumnarFormat
from app.timeseries.exports.copy_query import BoxRows, CopyQuery, ExportedBox
from app.timeseries.exports.row_source import ExportColumn, RawSamples
from app.timeseries.exports.text_formats import TEXT_FORMATS, format_number

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
SITE = UUID("01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d")
COLUMNS = [ExportColumn("pm2_5", "µg/m³", "Dust", double=True), ExportColumn("laeq", "dB", "", double=True)]


def box(name: str, key: int = 1) -> ExportedBox:
    return ExportedBox(key, name, SITE, 1.4453, -43.0, START, START + timedelta(days=1))


A, B = box("a"), box("a-", 2)
COPIED: dict[str, list[tuple[ExportedBox, list[str]]]] = {
    "csv": [(A, ["12:00:00", "12.4", ""]), (B, ["12:00:00", "", "-0.5"]), (B, ["12:00:01.5", "1", "2"])],
    "ndjson": [
        (A, ["12:00:00", ',"pm2_5":', "12.4", "", ""]),
        (B, ["12:00:01.5", "", "", ',"laeq":', "2"]),
    ],
}
COPIED["geojson"] = COPIED["ndjson"]


def copied(name: str) -> bytes:
    form = TEXT_FORMATS[name]
    lines = [
        "\x02".join((form.label(of), f"2026-03-28 {at}+00", *cells)) for of, (at, *cells) in COPIED[name]
    ]
    return "".join(f"{line}\n" for line in lines).encode()


LINES = {
    "csv": "a,{site},2026-03-28T12:00:00Z,12.4,\r\na-,{site},2026-03-28T12:00:00Z,,-0.5\r\n"
    "a-,{site},2026-03-28T12:00:01.5Z,1,2\r\n",
    "ndjson": '{{"box":"a","site":"{site}","time":"2026-03-28T12:00:00Z","values":{{"pm2_5":12.4}}}}\n'
    '{{"box":"a-","site":"{site}","time":"2026-03-28T12:00:01.5Z","values":{{"laeq":2}}}}\n',
    "geojson": ',{{"type":"Feature","geometry":{{"type":"Point","coordinates":[1.4453,-43]}},"properties":'
    '{{"box":"a","site":"{site}","time":"2026-03-28T12:00:00Z","pm2_5":12.4}}}}\n'
    ',{{"type":"Feature","geometry":{{"type":"Point","coordinates":[1.4453,-43]}},"properties":'
    '{{"box":"a-","site":"{site}","time":"2026-03-28T12:00:01.5Z","laeq":2}}}}\n',
}


@pytest.mark.parametrize("name", list(TEXT_FORMATS))
def test_lines_are_completed(name: str) -> None:
    form = TEXT_FORMATS[name]
    lines = form.encode_copied(copied(name))
    assert form.complete(lines, [A, B]).decode() == LINES[name].format(site=SITE)
    number, begin, before = form.find_last_box(lines, [A, B], COLUMNS)
    assert (number, before) == (1, 1)
    assert lines[:begin] == lines.splitlines(keepends=True)[0]
    # There is but one box, or one line.
    assert form.find_last_box(lines[begin:], [A, B], COLUMNS) == (1, 0, 0)
    assert form.find_last_box(lines[:begin], [A, B], COLUMNS) == (0, 0, 0)


@pytest.mark.parametrize("name", list(TEXT_FORMATS))
def test_rows_in_memory_give_the_same_lines(name: str) -> None:
    form = TEXT_FORMATS[name]
    tables = [BoxRows(A, [START], [[12.4], [None]])]
    if name == "csv":
        tables.append(BoxRows(B, [START, START + timedelta(seconds=1.5)], [[None, 1.0], [-0.5, 2.0]]))
    else:
        tables.append(BoxRows(B, [START + timedelta(seconds=1.5)], [[None], [2]]))
    made = b"".join(form.encode_rows(table, COLUMNS) for table in tables).decode()
    assert made == LINES[name].format(site=SITE)


def test_binary_rows_are_those_that_postgresql_copies() -> None:
    form = ColumnarFormat()
    rows = BoxRows(A, [START, START + timedelta(microseconds=1)], [[1.5, None], [None, -2.0]])
    head, _, data = form.encode_rows(rows, COLUMNS).partition(b"\n")
    assert head == f'[["a", "{SITE}"]]'.encode()
    found = decode_rows(memoryview(data), [True, True])
    assert found["box"].tolist() == [0, 0]
    assert np.diff(found["time"]).tolist() == [1]
    assert found["0"].tolist()[0] == 1.5
    assert np.isnan(found["0"][1])
    row = [struct.pack(">hiiiqidid", 4, 4, number, 8, 7, 8, 1.0, 8, 2.0) for number in (0, 0, 1, 1, 1)]
    whole = bytes(19) + b"".join(row) + b"\xff\xff"
    number, begin, before = form.find_last_box(whole, [A, B], COLUMNS)
    assert (number, before) == (1, 2)
    assert form.complete(whole[:begin], [A, B]).endswith(b"\n" + row[0] + row[1])


def test_the_literals_of_a_slice_are_in_its_query() -> None:
    source = RawSamples.of(["pm2_5"], START, START + timedelta(days=9))
    text = CopyQuery(source, TEXT_FORMATS["ndjson"], 11).render([A, B])
    assert "$" not in text
    assert text.startswith("WITH looked (number, key, since, before, label) AS (VALUES (0, 1::bigint, ")
    assert "LIMIT 11" in text
    # Only the days of the boxes, not those of the whole span.
    assert "2026-04-06" not in text
    assert text.count("2026-03-29T12:00:00+00:00") == 3


@given(st.floats(-1e14, 1e14))
def test_numbers_are_read_back(value: float) -> None:
    text = format_number(value)
    assert float(text) == value
    assert not text.endswith(".0")


def test_no_metric_needs_an_exponent_that_python_writes_later() -> None:
    assert all(abs(bound) < 1e15 for metric in CATALOGUE for bound in (metric.minimum, metric.maximum))
