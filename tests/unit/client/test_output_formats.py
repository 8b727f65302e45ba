import io
import json
from typing import Any

from app.client.output_formats import complete_columns, write_csv, write_fields, write_json, write_table

ROWS: list[dict[str, Any]] = [
    {"id": "a", "name": "Quai\x1b[31m \u202eevil", "value": 1.5, "in": {"x": True}},
    {"id": "=HYPERLINK(1)", "name": None, "value": -2, "in": None},
]


def test_a_table_has_a_line_for_each_row_and_nothing_that_a_terminal_obeys() -> None:
    file = io.StringIO()
    write_table(("id", "name", "value", "in.x"), ROWS, file, width=None)
    head, first, second = file.getvalue().splitlines()
    assert head.split() == ["ID", "NAME", "VALUE", "IN.X"]
    assert first.split() == ["a", "Quai", "[31m", "evil", "1.5", "yes"]
    assert second.split() == ["=HYPERLINK(1)", "-2"]
    assert "\x1b" not in file.getvalue()


def test_csv_has_no_formula() -> None:
    file = io.StringIO()
    write_csv(("id", "value"), ROWS, file)
    assert file.getvalue() == "id,value\r\na,1.5\r\n'=HYPERLINK(1),-2\r\n"


def test_json_is_an_array() -> None:
    for rows in ([], ROWS[:1], ROWS):
        file = io.StringIO()
        write_json(rows, file)
        assert json.loads(file.getvalue()) == rows


def test_fields_of_one_object() -> None:
    file = io.StringIO()
    write_fields({"id": "a", "tags": ["x", "y"], "none": None}, file)
    assert file.getvalue() == "id    a\ntags  x,y\nnone\n"


def test_columns_of_points_come_from_the_rows() -> None:
    columns, rows = complete_columns(("box",), iter([{"box": "a", "avg": 1}, {"box": "a", "max": 2}]))
    assert columns == ("box", "avg", "max")
    assert len(list(rows)) == 2
