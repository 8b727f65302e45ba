"""SQL of a room names its own tables, or views that another room publishes (docs/architecture.md)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

APP: Final = Path(__file__).parents[2] / "app"
NAMED: Final = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+(?:ONLY\s+)?([a-z_]+)")
# docs/architecture.md gives the reasons.
EXCEPTIONS: Final = {
    ("registry/box_repository.py", "box_states"),
    ("standalone/traffic_counts.py", "delivery_attempts"),
    ("standalone/traffic_counts.py", "ingest_totals"),
    ("timeseries/erasure/box_data_removal.py", "quarantine"),
}


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(APP.rglob("*.py")):
        yield path.relative_to(APP), ast.parse(path.read_text(encoding="utf-8"))


def _tables(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if "__tablename__" in names:
                yield str(node.value.value)


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from NAMED.findall(node.value)


def test_sql_of_a_room_names_no_table_of_another_room() -> None:
    trees = dict(_trees())
    owners = {table: path.parts[0] for path, tree in trees.items() for table in _tables(tree)}
    assert len(owners) > 40
    found = {
        (str(path), table)
        for path, tree in trees.items()
        for table in _named(tree)
        if owners.get(table, path.parts[0]) != path.parts[0]
    }
    assert found == EXCEPTIONS
