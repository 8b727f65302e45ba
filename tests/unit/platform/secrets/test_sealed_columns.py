"""What is sealed is in the registry: otherwise it would be lost with the key that sealed it."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from app.platform.secrets.sealed_columns import SEALED, SealedColumn
from app.platform.secrets.sealing import SealingError, SecretSealer

APP = Path(__file__).parents[4] / "app"
# The last two seal what clients keep for some minutes, and no column.
OWN = {"sealing.py", "sealed_columns.py", "oidc_state.py", "sign_in_challenges.py"}


def _sealing_calls(path: Path) -> list[int]:
    """Lines that seal or open by a sealer itself."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            if node.func.attr in {"seal", "open"} and receiver.endswith("sealer"):
                found.append(node.lineno)
    return found


def test_nobody_seals_but_by_the_registry() -> None:
    calls = {path: _sealing_calls(path) for path in APP.rglob("*.py") if path.name not in OWN}
    assert {path: lines for path, lines in calls.items() if lines} == {}
    assert _sealing_calls(APP / "platform" / "secrets" / "sealed_columns.py")


def test_no_column_stands_there_twice_and_none_shares_its_context_with_another_table() -> None:
    assert max(Counter(column.name for column in SEALED).values()) == 1
    tables: dict[str, set[str]] = {}
    for column in SEALED:
        tables.setdefault(column.context.partition(":")[0], set()).add(column.table)
        assert column.context.count("{}") == len(column.key)
    assert all(len(names) == 1 for names in tables.values())


def test_a_value_is_bound_to_its_row_and_column() -> None:
    sealer = SecretSealer([b"n" * 32])
    one, other = SealedColumn("t", "a", "a:{}:{}", ("x", "y")), SealedColumn("t", "b", "b:{}:{}", ("x", "y"))
    sealed = one.seal(sealer, "hunter2", 1, "two")
    assert one.open(sealer, sealed, 1, "two") == "hunter2"
    for column, key in ((one, (1, "three")), (one, (2, "two")), (other, (1, "two"))):
        with pytest.raises(SealingError):
            column.open(sealer, sealed, *key)


def test_what_is_in_clear_is_taken_only_where_it_may_be() -> None:
    strict, lenient = SealedColumn("t", "a", "a:{}"), SealedColumn("t", "a", "a:{}", clear="whsec_")
    sealer = SecretSealer([b"n" * 32])
    assert lenient.open(sealer, "whsec_x", 1) == "whsec_x"
    for column, text in ((strict, "whsec_x"), (lenient, "x")):
        with pytest.raises(SealingError):
            column.open(sealer, text, 1)
