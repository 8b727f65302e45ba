"""Tables of boxes: what is read of them, and what is refused with its line."""

import csv
import io
from datetime import UTC, datetime

import pytest

from app.platform.kernel.ids import new_id
from app.registry.box_csv import COLUMNS, EXAMPLE, read_box_table, write_credentials_table
from app.registry.box_schemas import BULK_MAX, BoxCreated, BoxesCreate
from app.registry.models import Box
from app.registry.spreadsheet_csv_reader import TableError, TableFault

SITE = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"


def faults_of(body: bytes) -> list[TableFault]:
    """Everything that is wrong with a table, whether or not some of it could be read."""
    try:
        return list(read_box_table(body).faults)
    except TableError as error:
        return list(error.faults)


def test_the_example_is_one() -> None:
    table = read_box_table(EXAMPLE.encode())
    boxes = BoxesCreate.model_validate(table.document).boxes
    assert table.lines == [2, 3]
    assert [box.id for box in boxes] == ["box-0001", "box-0002"]
    first, second = boxes
    assert (first.name, first.interval_s, first.ack) == ("Corner of rue de Metz", 60, True)
    assert first.location is not None
    assert first.location.coordinates == [1.4453, 43.6009]
    assert (first.kind, first.tags, first.attributes) == (
        "facade",
        ["metz", "lot:2026-11"],
        {"night_limit": 55.0},
    )
    assert (second.name, second.location, second.interval_s, second.ack) == (None, None, 60, False)
    assert (second.kind, second.tags, second.attributes) == (None, [], {})


def test_what_spreadsheets_write_is_read() -> None:
    rows = (f'a;{SITE};"Rue d\'Alsace; nord"', ";;", "", f'"b";{SITE};"two\r\nlines"', f"c;{SITE};")
    text = "\r\n".join(("\ufeffID;Site_ID;name", *rows, ""))
    table = read_box_table(text.encode())
    assert table.document["boxes"] == [
        {"id": "a", "site_id": SITE, "name": "Rue d'Alsace; nord"},
        {"id": "b", "site_id": SITE, "name": "two\r\nlines"},
        {"id": "c", "site_id": SITE},
    ]
    assert table.lines == [2, 5, 7]


def test_what_is_not_of_its_columns_form_stays_a_text() -> None:
    row = "a,s,,1,,x,,,,"
    text = f"{','.join(COLUMNS)}\n{row}".removesuffix(",")
    assert faults_of(text.encode())[0][:3] == (2, "location", "missing_field")
    text = "id,longitude,latitude,interval_s,ack\na,1e3,43'6,1.5,1\n"
    assert read_box_table(text.encode()).document["boxes"] == [
        {
            "id": "a",
            "location": {"type": "Point", "coordinates": ["1e3", "43'6"]},
            "interval_s": "1.5",
            "ack": "1",
        }
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("55", 55.0),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("1234567890123456", "1234567890123456"),
        ("rue de Metz", "rue de Metz"),
        ("0x10", "0x10"),
        ("nan", "nan"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "\N{ARABIC-INDIC DIGIT ONE}"),
    ],
)
def test_what_looks_like_a_number_is_one_among_attributes(cell: str, value: float | str) -> None:
    text = f"id,attribute:first,ATTRIBUTE:second,tags\na,{cell},,x| y\nb,,,\n"
    first, second = read_box_table(text.encode()).document["boxes"]
    assert first == {"id": "a", "attributes": {"first": value}, "tags": ["x", "y"]}
    assert second == {"id": "b"}


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        (b"", 1, "empty_body"),
        (b"\xef\xbb\xbf \r\n", 1, "empty_body"),
        (b"id\nn\xe9\nn\x8e\n", 2, "invalid_encoding"),
        (b"sep=;\n", 1, "empty_body"),
        (b"sep=|\nid\n", 1, "invalid_csv"),
        (b"\n\nid;name,kind\n", 3, "invalid_csv"),
        (b"id,colour\na,red\n", 1, "unknown_field"),
        (b"id,id\na,b\n", 1, "duplicate_key"),
        (b"id,attribute:a,Attribute:A\na,1,2\n", 1, "duplicate_key"),
        (b"id,attribute:\na,1\n", 1, "invalid_attribute"),
        (b"id,attribute:9\na,1\n", 1, "invalid_attribute"),
        (b"id,name\na\n", 2, "invalid_csv"),
        (b"id,name\na,b\nc,d,e\n", 3, "invalid_csv"),
        (b'id\n"a"b\n', 2, "invalid_csv"),
        (b'id\na\n"b\n', 3, "invalid_csv"),
        (b"id\n" + b"a" * 200_000 + b"\n", 2, "invalid_csv"),
        (b"id\na\n" + b"," * 70_000 + b"\n", 3, "invalid_csv"),
        (b"," * 70_000, 1, "invalid_csv"),
        (",".join(f"attribute:a{number}" for number in range(101)).encode(), 1, "too_many_columns"),
        (b",".join([b"id"] * 100), 1, "duplicate_key"),
        (b",".join([b"id"] * 101), 1, "too_many_columns"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: bytes, line: int, code: str) -> None:
    assert faults_of(text)[0].line == line
    assert faults_of(text)[0].code == code


def test_every_fault_of_header_and_rows_is_named() -> None:
    body = b'id,colour,longitude,latitude\na\nb,c,"1,5",43\nd,e,1,\ng,h,"1.234,5","2,5"\n'
    assert [(fault.line, fault.field, fault.code) for fault in faults_of(body)] == [
        (1, "header", "unknown_field"),
        (2, "row", "invalid_csv"),
        (3, "longitude", "ambiguous_number"),
        (4, "location", "missing_field"),
        (5, "longitude", "ambiguous_number"),
        (5, "latitude", "ambiguous_number"),
    ]


def test_more_rows_than_are_taken_are_not_read() -> None:
    for row in ("box\n", "box,more\n"):
        table = read_box_table(b"id\n" + row.encode() * 5 * BULK_MAX)
        assert table.faults[-1][:3] == (1, "table", "too_many_boxes")
        assert len(table.faults) == 1 if row == "box\n" else BULK_MAX + 1


@pytest.mark.parametrize("name", ["=1+1", "+33 5", "-x", "@SUM(A1)", "\tx"])
def test_no_cell_of_the_answer_is_a_formula(name: str) -> None:
    now = datetime.now(UTC)
    row = Box(
        id="-1-1",
        organisation_id=new_id(),
        site_id=new_id(),
        name=name,
        interval_s=60,
        ack=False,
        tags=[],
        attributes={},
        created_at=now,
        updated_at=now,
    )
    text = write_credentials_table([BoxCreated.with_password(row, "word")])
    header, cells = csv.reader(io.StringIO(text, newline=""))
    assert dict(zip(header, cells, strict=True)) == {
        "id": "'-1-1",
        "site_id": str(row.site_id),
        "name": f"'{name}",
        "username": "'-1-1",
        "password": "word",
    }
