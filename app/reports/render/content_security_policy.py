"""Reads the style sheet of reports, and builds their Content-Security-Policy. Pure.

The API process imports it too, so it must stay free of heavy imports.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from app.presentation.design_tokens import read_design_tokens

TEMPLATES: Final = Path(__file__).parent / "templates"


@cache
def read_style_sheet() -> str:
    """Read the style sheet with the design tokens, which is embedded in every page."""
    return read_design_tokens() + (TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def build_report_csp() -> str:
    """Build the Content-Security-Policy: no loading, no scripts, only the embedded style sheet."""
    digest = base64.b64encode(hashlib.sha256(read_style_sheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
