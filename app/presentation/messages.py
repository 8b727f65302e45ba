"""Translates texts for people, from the English in the code to the French of a gettext catalogue.

English texts are in the code. French ones are in `locale/fr/LC_MESSAGES/vigie.po`, which translators edit
with any gettext tool. A text that two places translate differently has a context. Pure, but for reading the
catalogue.
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from babel.messages.pofile import read_po

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
