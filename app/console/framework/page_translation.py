"""Translates the texts of the console's pages. Pure, but for reading the catalogue.

Templates call `t("English text")`. The French catalogue has these texts under the context `console`, unless
it has the same text without a context.
"""

from dataclasses import dataclass
from typing import Final

from app.console.framework.problem_translation import translate_problem_text
from app.presentation.local_formatter import LocalFormatter
from app.presentation.translation import BilingualText, choose_text, load_french

CONTEXT: Final = "console"
"""`msgctxt` of texts that only the console has."""


def mark_text(english: str) -> str:
    """Mark a text that is translated later, for the test that compares texts and catalogue."""
    return english


def find_text(english: str) -> BilingualText:
    """Return a text of the console in both languages.

    Raises:
        KeyError: The catalogue lacks it. A test finds such texts.
    """
    french = load_french()
    return BilingualText(english, french.get((CONTEXT, english)) or french[None, english])


@dataclass(frozen=True, slots=True)
class PageTranslator:
    """Translates for one page.

    Attributes:
        formatter: The language and its formats.
    """

    formatter: LocalFormatter

    def t(self, english: str, /, **values: object) -> str:
        """Translate a text and fill its placeholders."""
        text = choose_text(find_text(english), self.formatter.language)
        return text.format(**values) if values else text

    def n(self, count: int, one: str, several: str) -> str:
        """Translate a count with its noun, in which `{}` stands for the number."""
        return self.formatter.counted(count, find_text(one), find_text(several))

    def explain(self, english: str) -> str:
        """Translate a text of a problem for a script; as it is if the catalogue lacks it."""
        return translate_problem_text(english, self.formatter.language).text
