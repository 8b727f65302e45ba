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

from app.presentation.languages import Language
from app.presentation.typography import typeset_text

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


def choose_text(text: BilingualText, language: Language) -> str:
    """Return a text of the program in a language, with its typography."""
    return typeset_text(text.fr if language == "fr" else text.en, language)


def _in_language(value: Any, context: str, language: Language) -> Any:  # noqa: ANN401 (a text, or texts in one of several shapes)
    if isinstance(value, str):
        if language == "fr":
            french = load_french()
            value = french.get((context, value)) or french[context.partition(".")[0], value]
        return typeset_text(value, language)
    if isinstance(value, tuple):
        return tuple(_in_language(each, f"{context}.{index}", language) for index, each in enumerate(value))
    if isinstance(value, Mapping):
        return {key: _in_language(each, f"{context}.{key}", language) for key, each in value.items()}
    return value


def translate_fields[Texts: "DataclassInstance"](
    texts: Texts, language: Language, *, context: str, **own: object
) -> Texts:
    """Return the copy of a dataclass of English texts in a language, typeset.

    Args:
        texts: Its fields are texts, or tuples and mappings of texts, and the field `language`.
        language: The language of the copy.
        context: `msgctxt` of the catalogue. If an English text has several French ones, the context of each
            is its path, such as `mail.and_more.1`.
        own: Fields that are not translated but given.

    Raises:
        KeyError: The catalogue lacks a text.
    """
    own = {"language": language, **own}
    translated_fields = {
        each.name: _in_language(getattr(texts, each.name), f"{context}.{each.name}", language)
        for each in fields(texts)
        if each.name not in own
    }
    return replace(texts, **translated_fields, **own)
