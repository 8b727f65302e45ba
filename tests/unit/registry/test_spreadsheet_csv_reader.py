"""What English, French and German spreadsheets write, and what could be read in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.platform.http.contract.problems import CodedValueError
from app.registry.box_csv import read_box_table
from app.registry.spreadsheet_csv_reader import (
    DecimalMark,
    TableError,
    UnknownCharsetError,
    check_no_thousands_separator,
    decode_text,
)

FRENCH = (
    "id;name;longitude;latitude;ack;attribute:night_limit\r\n"
    "quai-1;Café « Chez Zoë » \u2013 côté Garonne;1,4453;-43,6009;VRAI;55,5\r\n"
    'quai-2;"Rue de l\u2019Été; nord";;;FAUX;\r\n'
)
GERMAN = FRENCH.replace("VRAI", "WAHR").replace("FAUX", "FALSCH")
READ = [
    {
        "id": "quai-1",
        "name": "Café « Chez Zoë » \u2013 côté Garonne",
        "location": {"type": "Point", "coordinates": [1.4453, -43.6009]},
        "ack": True,
        "attributes": {"night_limit": 55.5},
    },
    {"id": "quai-2", "name": "Rue de l\u2019Été; nord", "ack": False},
]


@pytest.mark.parametrize("text", [FRENCH, GERMAN])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator_line", ["", "sep=;\r\n", '"sep=;"\r\n', "SEP=;\n"])
def test_what_excel_writes_in_french_and_german(text: str, encoding: str, separator_line: str) -> None:
    table = read_box_table((separator_line + text).encode(encoding))
    assert (table.document["boxes"], table.faults) == (READ, [])
    assert table.lines == ([3, 4] if separator_line else [2, 3])


def test_tabs_separate_cells_too() -> None:
    table = read_box_table(FRENCH.replace("Été; nord", "Été, nord").replace(";", "\t").encode())
    assert table.document["boxes"][0] == READ[0]
    assert table.document["boxes"][1]["name"] == "Rue de l\u2019Été, nord"


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("ISO-8859-1", b"n\xe9", "né"),
        ("latin1", b"n\x92", "n\u2019"),
        ("windows-1252", b"\x8a", "Š"),
        ("iso-8859-15", b"\xa4", "€"),
        ("utf-16", "né".encode("utf-16"), "né"),
        ("us-ascii", "né".encode(), "né"),
        ("windows-1252", "né".encode("utf-8-sig"), "né"),
    ],
)
def test_a_declared_encoding_is_followed_but_for_a_byte_order_mark(
    charset: str, body: bytes, text: str
) -> None:
    assert decode_text(body, charset) == text


def test_other_declared_encodings_are_refused() -> None:
    for charset in ("shift_jis", "utf-7", "no-such", "hex"):
        with pytest.raises(UnknownCharsetError):
            decode_text(b"id", charset)


@pytest.mark.parametrize(
    "body",
    [
        "id\nné".encode("mac-roman"),
        "id\nné".encode("cp850"),
        "id\nżółw".encode("iso8859-2"),
        "id\nné ".encode() + b"\xe9",
        b"id\n\xff\xfe\x00\x81",
    ],
)
def test_an_encoding_that_could_be_another_is_refused_with_the_line_and_what_to_do(body: bytes) -> None:
    with pytest.raises(TableError) as refusal:
        decode_text(body, None)
    (fault,) = refusal.value.faults
    assert (fault.line, fault.code) == (2, "invalid_encoding")
    assert "charset=windows-1252" in fault.detail


@pytest.mark.parametrize(
    ("separator", "before", "cell"),
    [(",", "", "1,234"), (",", "", "12,5"), (";", "1.5", "1,5"), (";", "1,5", "1.5"), ("\t", "1,5", "1.5e3")],
)
def test_a_number_that_could_be_another_is_refused(separator: str, before: str, cell: str) -> None:
    mark = DecimalMark(separator)
    mark.plain(before)
    with pytest.raises(CodedValueError) as caught:
        mark.plain(cell)
    assert caught.value.code == "ambiguous_number"


@pytest.mark.parametrize("cell", ["1.234,5", "1 234", "1\u202f234,56", "1,234.5", "1'234", "1.234.567"])
def test_thousands_separators_are_refused(cell: str) -> None:
    with pytest.raises(CodedValueError) as caught:
        check_no_thousands_separator(cell)
    assert caught.value.code == "ambiguous_number"


@given(st.floats(-1e9, 1e9).map(lambda value: f"{value:.6f}"))
def test_a_decimal_comma_means_what_a_point_means(number: str) -> None:
    assert DecimalMark(";").plain(number.replace(".", ",")) == number
    assert DecimalMark(",").plain(number) == number


@given(st.text(st.characters(codec="cp1252", exclude_categories=["Cc"]), min_size=1))
def test_what_is_read_as_windows_1252_without_a_declaration_is_what_was_written(text: str) -> None:
    try:
        read = decode_text(f"x{text}".encode("cp1252"), None)
    except TableError:
        return
    assert read == f"x{text}" or f"x{text}".encode("cp1252").decode("utf-8") == read
