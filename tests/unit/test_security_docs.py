"""Each test that `docs/security.md` names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_TEXT = (_TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
_NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", _TEXT)
_RISKS = re.findall(r"^\| (API\d+): (.+)$", _TEXT, re.MULTILINE)


@cache
def functions(file: str) -> frozenset[str]:
    path = _TESTS / file
    if not path.is_file():
        return frozenset()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return frozenset(each.name for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("file", "name"), sorted(set(_NAMED)))
def test_each_test_that_is_named_is_there(file: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in functions(file)


def test_each_of_the_ten_has_its_tests() -> None:
    assert [code for code, _ in _RISKS] == [f"API{number}" for number in range(1, 11)]
    assert [code for code, row in _RISKS if "::test_" not in row] == []
