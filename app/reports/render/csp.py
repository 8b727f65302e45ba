"""The style sheet of reports, and the policy that lets nothing else in. Pure, and light: both use it."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Final

TEMPLATES: Final = Path(__file__).parent / "templates"


@cache
def read_style_sheet() -> str:
    """The style sheet, which stands in every page."""
    return (TEMPLATES / "style.css").read_text()


@cache
def build_report_csp() -> str:
    """The Content-Security-Policy of a page: nothing is loaded, no script runs, one style sheet holds."""
    digest = base64.b64encode(hashlib.sha256(read_style_sheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
