import csv
import io

import pytest

from app.console.fleet import box_import_table
from app.console.fleet.box_import_table import locate_faults, read_import_table
from app.registry.spreadsheet_csv_reader import TableError

ONE = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
TWO = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a11"
SITES = [{"id": ONE, "name": "Rue de Metz"}, {"id": TWO, "name": "Quai"}]


def sites_of(text: str, site: str = "") -> list[str]:
    table = read_import_table(text, site, SITES)
    column = table.columns.index("site_id")
    return [row.cells[column] for row in table.rows]


@pytest.mark.parametrize("column", ["site", "site_id", " Site "])
def test_sites_are_named_or_chosen(column: str) -> None:
    assert sites_of(f"id,{column}\na,quai\nb,{ONE}\nc,\nd,Nowhere\n", TWO) == [TWO, ONE, TWO, "Nowhere"]


def test_a_table_without_sites_gets_the_chosen_one() -> None:
    assert sites_of("id;name\na;x\nb;y\n", ONE) == [ONE, ONE]
    assert "site_id" not in read_import_table("id\na\n", "", SITES).columns


def test_a_row_of_another_width_stays_as_it_is() -> None:
    table = read_import_table("id,name\na\nb,x,y\n", ONE, SITES)
    assert [list(row.cells) for row in table.rows] == [["a"], ["b", "x", "y"]]


def test_parts_map_their_lines_to_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_import_table, "BULK_MAX", 2)
    text = 'id,name\na,"two\nlines"\n\nb,x\nc,"1\n2\n3"\nd,y\n'
    table = read_import_table(text, "", SITES)
    first, second = table.split()
    assert [row.line for row in table.rows] == [2, 5, 6, 9]
    assert (first.lines, second.lines) == ({1: 1, 2: 2, 4: 5}, {1: 1, 2: 6, 5: 9})
    rows = list(csv.reader(io.StringIO(second.text, newline="")))
    assert rows == [["id", "name"], ["c", "1\n2\n3"], ["d", "y"]]
    assert table.without_first_part() == second.text
    fault = {"line": 5, "field": "name", "code": "x", "detail": "y"}
    assert [each.line for each in locate_faults([fault], second.lines)] == [9]
    assert read_import_table("id\na\n", "", SITES).without_first_part() == ""


def test_repeated_ids_and_unknown_sites_are_found() -> None:
    table = read_import_table("id,site\na,Quai\nb,Elsewhere\na,Quai\n", "", SITES)
    assert [(fault.line, fault.field) for fault in table.find_repeated_ids()] == [(4, "id")]
    assert [(fault.line, fault.field) for fault in table.find_unknown_sites()] == [(3, "site_id")]
    table = read_import_table("name\nx\n", "", SITES)
    assert (table.find_repeated_ids(), table.find_unknown_sites()) == ([], [])


def test_a_table_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_import_table, "ROWS_MAX", 2)
    assert len(read_import_table("id\na\nb\n", "", SITES).rows) == 2
    with pytest.raises(TableError, match="at most 2 boxes"):
        read_import_table("id\na\nb\nc\n", "", SITES)
    with pytest.raises(TableError, match="Paste a table"):
        read_import_table(" \n", "", SITES)
