import ast
import re
import string
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

from app.console.framework import page_translation, problem_translation
from app.notifications.email import mail_texts
from app.notifications.sentences import phrases
from app.people import account_mail, invitation_mail
from app.presentation.translation import load_french, translated
from app.reports import report_mail

APP = Path(__file__).parents[3] / "app"
CONSOLE = APP / "console"
# Texts in templates: `t("…")`, and `n(count, "…", "…")` for counts.
_LITERAL = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_TEXT_IN_TEMPLATE = re.compile(rf"\bt\(\s*{_LITERAL}")
_COUNT_IN_TEMPLATE = re.compile(rf"\bn\([^\"']*,\s*{_LITERAL}\s*,\s*{_LITERAL}")
# Texts of problems, which their own test compares with the sources.
_OF_PROBLEMS = {problem_translation.CONTEXT, problem_translation.PART_CONTEXT}
_TRANSLATING = {"t", "n", "find_text", "mark_text"}


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


def _of_console(path: Path) -> Iterator[str]:
    """Yield the English texts of a module or template of the console."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        for pattern in (_TEXT_IN_TEMPLATE, _COUNT_IN_TEMPLATE):
            for match in pattern.finditer(source):
                yield from (ast.literal_eval(literal) for literal in match.groups())
        return
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given: list[ast.expr] = list(node.args) if name in _TRANSLATING else []
        if name == "render_anonymous_page":
            given = [each.value for each in node.keywords if each.arg == "title"]
        yield from (
            each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)
        )


def _console_texts() -> Iterator[tuple[Path, tuple[str | None, str]]]:
    for path in (*CONSOLE.rglob("*.py"), *CONSOLE.rglob("*.html")):
        for text in _of_console(path):
            own = (page_translation.CONTEXT, text)
            yield path, own if own in load_french() or (None, text) not in load_french() else (None, text)


def test_every_text_is_translated_and_no_translation_is_unused() -> None:
    marked: set[tuple[str | None, str]] = {text for path in APP.rglob("*.py") for text in _marked(path)}
    marked |= set(_of_fields(mail_texts.TEXTS, mail_texts.FRENCH, "mail"))
    marked |= set(_of_fields(phrases.PHRASES, phrases.FRENCH, "sentence"))
    invitation = invitation_mail.TEXTS_BY_LANGUAGE["fr"]
    marked |= set(_of_fields(invitation_mail.TEXTS, invitation, "invitation"))
    account = account_mail.TEXTS_BY_LANGUAGE["fr"]
    marked |= set(_of_fields(account_mail.TEXTS, account, "account mail"))
    marked |= {text for _, text in _console_texts()}
    report = report_mail.TEXTS_BY_LANGUAGE["fr"]
    marked |= set(_of_fields(report_mail.TEXTS, report, "report mail"))
    french = load_french()
    assert sorted(map(str, marked - french.keys())) == [], "add these to vigie.po"
    unused = {own for own in french.keys() - marked if own[0] not in _OF_PROBLEMS}
    assert sorted(map(str, unused)) == [], "remove these from vigie.po"


def test_translations_name_the_modules_of_their_texts() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    with (APP / "presentation/locale/fr/LC_MESSAGES/vigie.po").open("rb") as file:
        for entry in read_po(file):
            places[str(entry.id)] |= {place for place, _ in entry.locations}
    for path, (context, text) in _console_texts():
        if context is not None:
            assert {place for place in places[text] if place.startswith("app/console/")}, (path, text)
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
