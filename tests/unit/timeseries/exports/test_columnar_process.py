"""What the child process makes of frames: one Parquet file or Arrow stream, given on as it is written."""

import io
import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.timeseries.exports import columnar_process
from app.timeseries.exports.columnar_process import (
    ArrowStreamWriter,
    ParquetFileWriter,
    write_columnar_stream,
)

COLUMNS = [
    {"name": "pm2_5", "unit": "µg/m³", "description": "Dust", "double": False},
    {"name": "pressure", "unit": "hPa", "description": "Air", "double": True},
]
START = datetime(2026, 3, 28, 12, tzinfo=UTC)
NAN = float("nan")
type Runs = list[tuple[str, list[tuple[float, float]]]]


def frame(first: int, runs: Runs) -> bytes:
    """A slice as PostgreSQL copies it: rows of boxes, a microsecond apart; NaN stands for none."""
    boxes = json.dumps([[box, f"site of {box}"] for box, _ in runs]).encode()
    rows = [(number, row) for number, (_, some) in enumerate(runs) for row in some]
    since_2000 = (START - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    copied = [
        struct.pack(">hiiiqifid", 4, 4, number, 8, since_2000 + first + place, 4, four, 8, eight)
        for place, (number, (four, eight)) in enumerate(rows)
    ]
    return boxes + b"\n" + b"".join(copied) + b"\xff\xff"


def read(data: bytes) -> tuple[pq.ParquetFile, list[dict[str, Any]]]:
    file = pq.ParquetFile(io.BytesIO(data))
    return file, file.read().to_pylist()


def test_slices_become_one_table_with_boxes_in_any_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar_process, "ROWS_PER_GROUP", 4)
    writer = ParquetFileWriter(COLUMNS)
    slices: list[Runs] = [
        [("a", [(1.5, NAN), (NAN, 1002.3732)])],
        [("a", [(12.4, 2.0)]), ("b", [(NAN, NAN)])],
        [("c", [(0.0, -0.0)])],
    ]
    data, taken = b"", []
    for number, runs in enumerate(slices):
        writer.add(memoryview(frame(number * 2, runs)))
        data += writer.drain()
        taken.append(len(data))
    writer.end()
    file, rows = read(data + writer.drain())
    assert [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)] == [4, 1]
    # What fills a group is given on at once, and nothing is kept.
    assert taken[0] == 4 < taken[1] == taken[2]
    assert [(row["box"], row["site"], row["pm2_5"], row["pressure"]) for row in rows] == [
        ("a", "site of a", 1.5, None),
        ("a", "site of a", None, 1002.3732),
        ("a", "site of a", pytest.approx(12.4, rel=1e-7), 2.0),
        ("b", "site of b", None, None),
        ("c", "site of c", 0.0, 0.0),
    ]
    assert [row["time"] for row in rows] == [START + timedelta(microseconds=number) for number in range(5)]
    fields = {field.name: field for field in file.schema_arrow}
    assert [fields[name].nullable for name in ("box", "site", "time", "pm2_5")] == [False, False, False, True]
    assert fields["pm2_5"].metadata == {b"unit": "µg/m³".encode(), b"description": b"Dust"}


def framed(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def begin(format_: str) -> bytes:
    return framed(json.dumps({"format": format_, "columns": COLUMNS}).encode())


def answers(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = int.from_bytes(data[:4])
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def test_each_frame_has_an_answer_and_all_of_them_are_the_file() -> None:
    head = begin("parquet")
    slices = framed(frame(0, [("a", [(1.0, 2.0)])])) + framed(frame(1, [("b", [(3.0, 4.0)])]))
    sink = io.BytesIO()
    write_columnar_stream(io.BytesIO(head + slices + framed(b"")), sink)
    found = answers(sink.getvalue())
    assert len(found) == 4
    assert [row["pm2_5"] for row in read(b"".join(found))[1]] == [1.0, 3.0]
    empty = io.BytesIO()
    write_columnar_stream(io.BytesIO(head + framed(b"")), empty)
    assert read(b"".join(answers(empty.getvalue())))[1] == []


@pytest.mark.parametrize("cut", [0, 3, 20, -5])
def test_who_is_gone_gets_no_end_of_a_file(cut: int) -> None:
    said = begin("parquet") + framed(frame(0, [("a", [(1.0, 2.0)])]))
    sink = io.BytesIO()
    write_columnar_stream(io.BytesIO(said[:cut]), sink)
    assert not b"".join(answers(sink.getvalue())).endswith(b"PAR1") or cut == -5
    assert len(answers(sink.getvalue())) == (1 if cut == -5 else 0)


def test_a_slice_is_given_on_at_once_as_a_record_batch_of_an_arrow_stream() -> None:
    writer = ArrowStreamWriter(COLUMNS)
    writer.add(memoryview(frame(0, [("a", [(1.5, NAN)])])))
    first = writer.drain()
    writer.add(memoryview(frame(1, [("a", [(NAN, NAN)]), ("b", [(12.4, 2.0)])])))
    second = writer.drain()
    writer.end()
    assert pa.ipc.open_stream(first).read_next_batch().num_rows == 1
    stream = pa.ipc.open_stream(first + second + writer.drain())
    fields = {field.name: field for field in stream.schema}
    assert fields["pm2_5"].metadata == {b"unit": "µg/m³".encode(), b"description": b"Dust"}
    assert [
        (row["box"], row["site"], row["pm2_5"], row["pressure"]) for row in stream.read_all().to_pylist()
    ] == [
        ("a", "site of a", 1.5, None),
        ("a", "site of a", None, None),
        ("b", "site of b", pytest.approx(12.4, rel=1e-7), 2.0),
    ]


def test_an_arrow_stream_without_rows_has_its_columns() -> None:
    sink = io.BytesIO()
    write_columnar_stream(io.BytesIO(begin("arrow") + framed(b"")), sink)
    table = pa.ipc.open_stream(b"".join(answers(sink.getvalue()))).read_all()
    assert (table.column_names, table.num_rows) == (["box", "site", "time", "pm2_5", "pressure"], 0)
