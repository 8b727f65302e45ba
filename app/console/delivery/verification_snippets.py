"""Loads the programs that verify a webhook's signature, by language. Pure, but for reading the files."""

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

_FOLDER: Final = Path(__file__).parent / "snippets"
_LANGUAGES: Final = (
    ("python", "Python"),
    ("node", "Node.js"),
    ("php", "PHP"),
    ("java", "Java"),
    ("go", "Go"),
    ("csharp", "C#"),
    ("ruby", "Ruby"),
    ("shell", "curl, openssl"),
)


class VerificationSnippet(NamedTuple):
    """A program that verifies signatures of Standard Webhooks.

    Attributes:
        name: A short name.
        language: The language, as readers know it.
        code: The program.
    """

    name: str
    language: str
    code: str


@cache
def load_snippets() -> tuple[VerificationSnippet, ...]:
    """Load all programs."""
    return tuple(
        VerificationSnippet(name, language, (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").rstrip())
        for name, language in _LANGUAGES
    )
