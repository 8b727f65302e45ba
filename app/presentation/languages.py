"""Names the languages of texts for people, with their CLDR locales. Pure."""

from collections.abc import Mapping
from typing import Final, Literal

from babel import Locale

type Language = Literal["en", "fr"]

LOCALES: Final[Mapping[Language, Locale]] = {"en": Locale.parse("en_GB"), "fr": Locale.parse("fr_FR")}


def get_language(name: str) -> Language:
    """Return a language by its name; English for an unknown one."""
    return "fr" if name == "fr" else "en"
