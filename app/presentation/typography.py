"""Sets spaces, quotes and lists by language; removes invisible characters from clients' texts. Pure.

Texts of the program pass through `typeset_text`. Texts of clients are not typeset: they pass through
`clean_line` or `clean_lines`.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from babel.lists import format_list

from app.presentation.languages import LOCALES, Language

NBSP: Final = "\xa0"
THIN_NBSP: Final = "\u202f"
APOSTROPHE: Final = "\u2019"
NO_VALUE: Final = "\u2013"
"""Shown instead of a missing value."""
COLONS: Final[Mapping[Language, str]] = {"en": ": ", "fr": f"{NBSP}: "}
"""The colon between a label and its value."""

_SEMICOLONS: Final[Mapping[Language, str]] = {"en": "; ", "fr": f"{THIN_NBSP}; "}
_BEFORE_UNIT: Final = re.compile(r"(\d) (?=(µg|mg|uoE|dB|ppm|ppb|°C|h\b|lx|hPa|m\b|mm\b|min\b))")
_ZERO_WIDTH_JOINERS: Final = "\u200c\u200d"  # part of how some scripts, and emoji, are written
_BREAKS: Final = frozenset({"Cc", "Zl", "Zp"})  # controls, line ends among them
_HIDDEN: Final = frozenset(
    {"Cf", "Cs"}
)  # invisible, or turning the direction of writing; halves of characters
_READ: Final = 4  # times the limit that is read of a text: characters may be removed from it
_SPACES: Final = re.compile(r"[^\S\xa0\u202f]+")


def typeset_text(text: str, language: Language) -> str:
    """Set the non-breaking spaces and curly apostrophes of a text of the program."""
    text = text.replace("'", APOSTROPHE)
    if language == "fr":
        text = re.sub(r" ([;?!%])", THIN_NBSP + r"\1", text)
        text = re.sub(r" (:|»)", NBSP + r"\1", text).replace("« ", "«" + NBSP)
    return _BEFORE_UNIT.sub(r"\1" + NBSP, text)


def join_words(parts: Sequence[str], language: Language) -> str:
    """Join parts of a sentence with commas and "and"."""
    return format_list(parts, locale=LOCALES[language])


def join_clauses(parts: Sequence[str], language: Language) -> str:
    """Join parts that may contain commas, with semicolons."""
    return _SEMICOLONS[language].join(parts)


def clean_line(text: str, limit: int) -> str:
    """Return a text on one line of at most `limit` characters, without invisible characters.

    Characters that change the writing direction are removed too: a name must not rearrange a page.
    """
    shown = text[: _READ * limit]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(map(_visible, shown))
    return truncate_text(_SPACES.sub(" ", shown).strip(), limit)


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in _BREAKS:
        return " "
    return "" if category in _HIDDEN and char not in _ZERO_WIDTH_JOINERS else char


def clean_lines(text: str, limit: int) -> list[str]:
    """Return the non-empty lines of a text, cleaned; at most `limit` characters in total."""
    lines = (clean_line(line, limit) for line in text[:limit].splitlines())
    return [line for line in lines if line]


def truncate_text(text: str, limit: int) -> str:
    """Truncate a text to `limit` characters, with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
