"""Reads the design tokens, which the style sheets of all pages share. Pure, but for reading the file.

A page that does not link another style sheet with the tokens puts them before its own rules.
"""

from functools import cache
from pathlib import Path
from typing import Final

TOKENS_FILE: Final = Path(__file__).parent / "static" / "tokens.css"


@cache
def read_design_tokens() -> str:
    """Read the style sheet of custom properties: colours of light and dark mode, type and space."""
    return TOKENS_FILE.read_text(encoding="utf-8")
