import ast
import string
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

from app.notifications.email import mail_texts
from app.notifications.sentences import phrases
from app.people import invitation_mail
from app.presentation.translation import load_french, translated

APP = Path(__file__).parents[3] / "app"


def _marked(path: Path) -> Iterator[tuple[str | None, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "translated":
            context = next((ast.literal_eval(each.value) for each in node.keywords), None)
            yield context, ast.literal_eval(node.args[0])


def _nested(value: Any, context: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (texts in any shape)
    if isinstance(value, str):
        own = (context, value)
        yield own if own in load_french() else (context.partition(".")[0], value)
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from _nested(each, f"{context}.{index}")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _nested(each, f"{context}.{key}")


def _of_fields(english: Any, french: Any, context: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (dataclasses)
    for each in fields(english):
        if each.name != "language":
            assert type(getattr(english, each.name)) is type(getattr(french, each.name))
            yield from _nested(getattr(english, each.name), f"{context}.{each.name}")


def test_every_text_is_translated_and_no_translation_is_unused() -> None:
    marked: set[tuple[str | None, str]] = {text for path in APP.rglob("*.py") for text in _marked(path)}
    marked |= set(_of_fields(mail_texts.TEXTS, mail_texts.FRENCH, "mail"))
    marked |= set(_of_fields(phrases.PHRASES, phrases.FRENCH, "sentence"))
    invitation = invitation_mail.TEXTS_BY_LANGUAGE["fr"]
    marked |= set(_of_fields(invitation_mail.TEXTS, invitation, "invitation"))
    french = load_french()
    assert sorted(map(str, marked - french.keys())) == [], "add these to vigie.po"
    assert sorted(map(str, french.keys() - marked)) == [], "remove these from vigie.po"


def test_translations_name_the_modules_of_their_texts() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    with (APP / "presentation/locale/fr/LC_MESSAGES/vigie.po").open("rb") as file:
        for entry in read_po(file):
            places[str(entry.id)] |= {place for place, _ in entry.locations}
    for path in APP.rglob("*.py"):
        for _, text in _marked(path):
            assert path.relative_to(APP.parent).as_posix() in places[text], text
    assert {place for each in places.values() for place in each if not (APP.parent / place).exists()} == set()


def test_translations_have_the_fields_of_their_text() -> None:
    def names(text: str) -> list[str]:
        return sorted(str(name) for _, name, _, _ in string.Formatter().parse(text) if name is not None)

    wrong = [english for (_, english), french in load_french().items() if names(english) != names(french)]
    assert wrong == []


def test_a_text_without_a_translation_is_an_error() -> None:
    with pytest.raises(KeyError):
        translated("This is in no catalogue")
