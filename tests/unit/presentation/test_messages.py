import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.presentation.messages import load_french, translated

APP = Path(__file__).parents[3] / "app"


def _marked(path: Path) -> Iterator[tuple[str | None, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "translated":
            context = next((ast.literal_eval(each.value) for each in node.keywords), None)
            yield context, ast.literal_eval(node.args[0])


def test_every_text_is_translated_and_no_translation_is_unused() -> None:
    marked = {text for path in APP.rglob("*.py") for text in _marked(path)}
    french = load_french()
    assert sorted(map(str, marked - french.keys())) == [], "add these to vigie.po"
    assert sorted(map(str, french.keys() - marked)) == [], "remove these from vigie.po"


def test_translations_have_the_fields_of_their_text() -> None:
    def fields(text: str) -> list[str]:
        return sorted(str(name) for _, name, _, _ in string.Formatter().parse(text) if name is not None)

    wrong = [english for (_, english), french in load_french().items() if fields(english) != fields(french)]
    assert wrong == []


def test_a_text_without_a_translation_is_an_error() -> None:
    with pytest.raises(KeyError):
        translated("This is in no catalogue")
