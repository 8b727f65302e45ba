"""Renders the layout of the pages outside the public register, with their headers and static files.

They share the style sheet of the public register.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Request

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.cached_response import CachedResponse
from app.platform.kernel.application_resources import get_resource
from app.public_register.page_rendering import FOLDER as REGISTER_FILES
from app.public_register.page_rendering import PageContext, negotiate_language, render_page
from app.public_register.register_value_formatter import RegisterFormatter

HTML_MEDIA_TYPE: Final = "text/html; charset=utf-8"
PAGE_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Matches attributes of the templates only: in texts, quotation marks are escaped.
_PATHS: Final = re.compile(r'(\b(?:href|src|action)=")/(?!/)')
_TEMPLATES: Final = Path(__file__).parent / "templates"
_STATIC: Final = Path(__file__).parent / "static"
_FILES: Final[Mapping[str, tuple[Path, str]]] = {
    "/favicon.ico": (_STATIC / "favicon.ico", "image/x-icon"),
    "/favicon.svg": (REGISTER_FILES / "icon.svg", "image/svg+xml"),
    "/assets/pages.css": (_STATIC / "pages.css", "text/css; charset=utf-8"),
    "/assets/welcome.js": (_STATIC / "welcome.js", "text/javascript; charset=utf-8"),
}


@cache
def load_page_assets() -> Mapping[str, CachedResponse]:
    """Load the static files, by their path."""
    return MappingProxyType(
        {address: CachedResponse.of(path.read_bytes(), kind) for address, (path, kind) in _FILES.items()}
    )


def _versioned(address: str) -> str:
    """Add a hash of its content to the address of a file."""
    digest = hashlib.sha256(load_page_assets()[address].body).hexdigest()[:10]
    return f"{address}?v={digest}"


def choose_formatter(request: Request) -> RegisterFormatter:
    """Choose the language of a page: that of the address (`?lang=`), else that of `Accept-Language`."""
    return RegisterFormatter(
        negotiate_language(request.query_params.get("lang"), request.headers.get("accept-language", ""))
    )


def read_root_path(request: Request) -> str:
    """Return the path of the public address, under which a proxy serves the installation; empty: the root."""
    return urlsplit(get_resource(request.app, ApiSettings).base_url).path


def render_layout(
    template: str,
    formatter: RegisterFormatter,
    *,
    root: str,
    title: str,
    path: str,
    **more: Any,  # noqa: ANN401 (whatever the template takes)
) -> str:
    """Render a page.

    Args:
        template: The name of the template.
        formatter: The language.
        root: The prefix of all own paths (`read_root_path`).
        title: The title.
        path: The address.
        **more: Further variables of the template.
    """
    page = render_page(
        template,
        PageContext(formatter, datetime.now(UTC)),
        folder=_TEMPLATES,
        title=title,
        path=path,
        own=_versioned,
        **more,
    )
    return prefix_paths(page, root)


def prefix_paths(page: str, root: str) -> str:
    """Prefix the own paths in the attributes of a page.

    Args:
        page: The page.
        root: The prefix (`read_root_path`).
    """
    return _PATHS.sub(rf"\g<1>{root}/", page) if root else page


def build_page_headers(formatter: RegisterFormatter, **more: str) -> dict[str, str]:
    """Build the headers of a page."""
    return {"Content-Security-Policy": PAGE_CSP, "Content-Language": formatter.language, **more}
