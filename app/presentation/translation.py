"""Translates texts for people, from the English in the code to the French of a gettext catalogue.

English texts are in the code. French ones are in `locale/fr/LC_MESSAGES/vigie.po`, which translators edit
with any gettext tool. A text that two places translate differently has a context. Pure, but for reading the
catalogue.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from babel.messages.pofile import read_po

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CATALOGUE: Final = "locale/fr/LC_MESSAGES/vigie.po"


class BilingualText(NamedTuple):
    """A text for people, in both languages."""

    en: str
    fr: str


@cache
def load_french() -> Mapping[tuple[str | None, str], str]:
    """Read the French catalogue: (context, English text) → French text."""
    with resources.files("app.presentation").joinpath(_CATALOGUE).open("rb") as file:
        return {
            (message.context, str(message.id)): str(message.string)
            for message in read_po(file, locale="fr")
            if message.id
        }


def translated(english: str, *, context: str | None = None) -> BilingualText:
    """Return a text in both languages.

    Args:
        english: The text; the catalogue has it as `msgid`.
        context: `msgctxt` of the catalogue, where the same English text has several French ones.

    Raises:
        KeyError: The catalogue lacks it. A test finds such texts.
    """
    return BilingualText(english, load_french()[context, english])


NBSP: Final = "\xa0"
THIN_NBSP: Final = "\u202f"
APOSTROPHE: Final = "\u2019"


def typeset_french(text: str) -> str:
    """Set the apostrophes and the non-breaking spaces of French punctuation in a text as typed."""
    for mark in ";!?":
        text = text.replace(f" {mark}", f"{THIN_NBSP}{mark}")
    for typed, set_ in ((" :", f"{NBSP}:"), ("« ", f"«{NBSP}"), (" »", f"{NBSP}»"), ("'", APOSTROPHE)):
        text = text.replace(typed, set_)
    return text


def _translate(value: Any, context: str) -> Any:  # noqa: ANN401 (a text, or texts in one of several shapes)
    if isinstance(value, str):
        french = load_french()
        return typeset_french(french.get((context, value)) or french[context.partition(".")[0], value])
    if isinstance(value, tuple):
        return tuple(_translate(each, f"{context}.{index}") for index, each in enumerate(value))
    if isinstance(value, Mapping):
        return {key: _translate(each, f"{context}.{key}") for key, each in value.items()}
    return value


def translate_fields[Texts: "DataclassInstance"](english: Texts, *, context: str, **own: object) -> Texts:
    """Return the French copy of a dataclass of English texts, typeset.

    Args:
        english: Its fields are texts, or tuples and mappings of texts.
        context: `msgctxt` of the catalogue. If an English text has several French ones, the context of each
            is its path, such as `mail.and_more.1`.
        own: Fields that are not translated but given.

    Raises:
        KeyError: The catalogue lacks a text.
    """
    translated_fields = {
        each.name: _translate(getattr(english, each.name), f"{context}.{each.name}")
        for each in fields(english)
        if each.name not in own
    }
    return replace(english, **translated_fields, **own)
